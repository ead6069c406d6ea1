// SPDX-License-Identifier: Apache-2.0
// The routes of /openapi.json as a page to read.
import { el, clear } from './dom.js';

function deref(spec, node) {
  if (!node || !node.$ref) return node;
  return node.$ref.slice(2).split('/').reduce((at, key) => at && at[key], spec);
}

function example(spec, content) {
  for (const [type, media] of Object.entries(content || {})) {
    const first = media.example ?? Object.values(media.examples || {})[0]?.value
      ?? deref(spec, media.schema)?.example;
    if (first === undefined) continue;
    const text = typeof first === 'string' ? first : JSON.stringify(first, null, 2);
    return el('figure', {}, el('figcaption', { class: 'quiet', text: type }), el('pre', { text, dir: 'auto' }));
  }
  return null;
}

function route(spec, path, method, op) {
  const params = (op.parameters || []).map((p) => deref(spec, p)).filter((p) => p.in !== 'path');
  const box = el('details', { class: 'route' },
    el('summary', {}, el('span', { class: `verb ${method}`, text: method.toUpperCase() }),
      el('code', { text: path }), el('span', { class: 'quiet', text: op.summary || '' })));
  if (op.description) box.append(el('p', { text: op.description }));
  for (const p of params)
    box.append(el('p', {}, el('code', { text: p.name }), el('span', { class: 'quiet', text: ` ${p.in} — ${p.description || ''}` })));
  const asked = example(spec, deref(spec, op.requestBody)?.content);
  if (asked) box.append(el('h3', { text: 'Request' }), asked);
  for (const [status, ref] of Object.entries(op.responses || {})) {
    const answer = deref(spec, ref);
    box.append(el('h3', { text: `${status} ${answer.description || ''}` }));
    const shown = example(spec, answer.content);
    if (shown) box.append(shown);
  }
  return box;
}

async function start() {
  const root = document.getElementById('routes');
  try {
    const spec = await (await fetch('/openapi.json')).json();
    clear(root);
    root.append(el('p', { text: spec.info.description }));
    for (const tag of spec.tags || []) {
      root.append(el('h2', { text: tag.name }), el('p', { class: 'quiet', text: tag.description || '' }));
      for (const [path, methods] of Object.entries(spec.paths))
        for (const [method, op] of Object.entries(methods))
          if ((op.tags || []).includes(tag.name)) root.append(route(spec, path, method, op));
    }
  } catch (error) {
    root.textContent = `The description could not be read: ${error.message}`;
  }
}
start();
