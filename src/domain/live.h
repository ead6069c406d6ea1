/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_DOMAIN_LIVE_H
#define XIN_DOMAIN_LIVE_H

struct search;
struct store;

/* Let search ask the store which versions are live (struct search_live). Called
 * once, after both are open; both must stay open while search is used. */
void live_wire(struct search *search, struct store *store);

#endif
