// SPDX-License-Identifier: Apache-2.0
// The only way this page makes elements: text goes in as text, never as HTML.
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === 'text') node.textContent = value;
    else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : value);
  }
  for (const child of children) if (child) node.append(child);
  return node;
}

export function clear(node) {
  node.replaceChildren();
  return node;
}

export const $ = (id) => document.getElementById(id);

// Only web addresses become links: a document's source_url is not trusted.
export function safeUrl(text) {
  try {
    const url = new URL(text);
    return url.protocol === 'http:' || url.protocol === 'https:' ? url.href : null;
  } catch {
    return null;
  }
}

export function when(rfc3339) {
  const date = new Date(rfc3339);
  if (!rfc3339 || Number.isNaN(date.getTime())) return '';
  return date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

export function sheet(title, ...children) {
  $('sheet-title').textContent = title;
  clear($('sheet-body')).append(...children.filter(Boolean));
  if (!$('sheet').open) $('sheet').showModal();
}

export function problem(error) {
  const box = $('problem');
  box.hidden = !error;
  if (!error) return;
  const id = error.requestId ? ` (request ${error.requestId})` : '';
  clear(box).append(el('span', { dir: 'auto', text: `${error.message}${id}` }),
    el('button', { type: 'button', 'aria-label': 'Dismiss', text: '✕', onclick: () => problem(null) }));
}
