/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_PRODUCT_H
#define XIN_DOMAIN_PRODUCT_H

#include <stdbool.h>

/* The back ends that the product stands on, opened and closed by main. The
 * domain borrows them; they are safe to use from every loop. */
struct product {
	struct store *store;
	struct queue *queue;
	struct object_store *objects;
	struct search *search;
	struct model *model;
	struct embedder *embedder; /* NULL = searches are lexical */
	struct kv *kv;
	bool open_access; /* loopback without keys, or XIN_AUTH=open */
};

#endif
