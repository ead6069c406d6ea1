/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_MAIN_FIGURES_H
#define XIN_MAIN_FIGURES_H

/* The gauges of the process itself: memory, CPU, files, start, build, loops.
 * Names as in Prometheus' own client libraries. Once, loops run already. */
void figures_show(void);

#endif
