// SPDX-License-Identifier: Apache-2.0

// Reads manifests from stdin and does to each what an API server does before it
// stores one: decode strictly, default, validate, with Kubernetes' own code. Of
// the server's strategies only what the functions cannot do without is repeated
// here. Kinds that it does not have (custom resources) are counted. Exit status
// 1: something would be refused.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsinstall "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalinginstall "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchinstall "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	coreinstall "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkinginstall "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyinstall "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
)

func decoder() runtime.Decoder {
	scheme := runtime.NewScheme()
	appsinstall.Install(scheme)
	autoscalinginstall.Install(scheme)
	batchinstall.Install(scheme)
	coreinstall.Install(scheme)
	networkinginstall.Install(scheme)
	policyinstall.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
}

func validate(object runtime.Object) (field.ErrorList, error) {
	if meta, ok := object.(metav1.ObjectMetaAccessor); ok && meta.GetObjectMeta().GetNamespace() == "" {
		meta.GetObjectMeta().SetNamespace("default")
	}
	switch o := object.(type) {
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, corevalidation.PodValidationOptions{}), nil
	case *autoscaling.HorizontalPodAutoscaler:
		return autoscalingvalidation.ValidateHorizontalPodAutoscaler(o,
			autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{MinReplicasLowerBound: 1}), nil
	case *batch.Job: // the server makes its selector
		labels := map[string]string{batch.LegacyControllerUidLabel: "uid", batch.ControllerUidLabel: "uid"}
		o.UID = "uid"
		o.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
		for name, value := range labels {
			metav1.SetMetaDataLabel(&o.Spec.Template.ObjectMeta, name, value)
		}
		metav1.SetMetaDataLabel(&o.Spec.Template.ObjectMeta, batch.LegacyJobNameLabel, o.Name)
		metav1.SetMetaDataLabel(&o.Spec.Template.ObjectMeta, batch.JobNameLabel, o.Name)
		return batchvalidation.ValidateJob(o, batchvalidation.JobValidationOptions{RequirePrefixedLabels: true}), nil
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o), nil
	case *core.PersistentVolumeClaim:
		return corevalidation.ValidatePersistentVolumeClaim(o,
			corevalidation.PersistentVolumeClaimSpecValidationOptions{}), nil
	case *core.Pod:
		return corevalidation.ValidatePodCreate(o, corevalidation.PodValidationOptions{}), nil
	case *core.Service: // the server keeps a list of what was one
		if o.Spec.ClusterIP != "" {
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
		}
		return corevalidation.ValidateServiceCreate(o), nil
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o), nil
	case *networking.Ingress:
		return networkingvalidation.ValidateIngressCreate(o), nil
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{}), nil
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o,
			policyvalidation.PodDisruptionBudgetValidationOptions{}), nil
	}
	return nil, fmt.Errorf("no validation of %T is called here", object)
}

func main() {
	decode := decoder()
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	valid, custom, refused := 0, 0, 0
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		object, kind, err := decode.Decode(document, nil, nil)
		switch {
		case err != nil && runtime.IsNotRegisteredError(err):
			custom++
			continue
		case err == nil:
			var found field.ErrorList
			if found, err = validate(object); err == nil {
				err = found.ToAggregate()
			}
		}
		if err != nil {
			fmt.Println(kind, err)
			refused++
			continue
		}
		valid++
	}
	fmt.Printf("valid %d, custom %d, refused %d\n", valid, custom, refused)
	if refused > 0 {
		os.Exit(1)
	}
}
