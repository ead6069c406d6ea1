// SPDX-License-Identifier: Apache-2.0
// Documents: upload, live status, retry, cancel, explain, delete.
import { brandPath, call, stream, upload } from './api.js';
import { $, clear, el, problem, sheet, when } from './dom.js';

const STEPS = ['extract', 'clean', 'chunk', 'guard', 'embed', 'index'];
const WORDS = { pending: 'Waiting', processing: 'Working', ready: 'Ready', failed: 'Failed', cancelled: 'Cancelled', uploading: 'Uploading' };
const rows = new Map(); // id -> { node, abort }
let brand = null;
let cursor = null;

const path = (id, rest = '') => brandPath(brand, `/knowledge/${encodeURIComponent(id)}${rest}`);
const active = (source) => source.status === 'pending' || source.status === 'processing';

function share(source) {
  if (source.status === 'ready') return 1;
  const at = STEPS.indexOf(source.step);
  const total = source.progress?.total || 0;
  const part = total > 0 ? Math.min(1, source.progress.done / total) : 0;
  return at < 0 ? 0 : (at + part) / STEPS.length;
}

function detail(source) {
  if (source.error && source.status !== 'ready') return source.error.message;
  if (source.status === 'processing') {
    const { done, total } = source.progress || {};
    return total ? `${source.step} — ${done} of ${total}` : source.step || '';
  }
  if (source.status === 'pending') {
    const place = source.waiting_on?.queue_position;
    return place >= 0 && place !== null ? `${place} before it` : (source.waiting_on?.reason || '').replaceAll('_', ' ');
  }
  if (source.status === 'ready') return `${source.chunks} ${source.chunks === 1 ? 'passage' : 'passages'}`;
  return '';
}

function button(label, name, run) {
  return el('button', { type: 'button', class: 'small', 'aria-label': `${label}: ${name}`, text: label,
    onclick: async (event) => {
      const pressed = event.currentTarget;
      pressed.disabled = true;
      try { await run(); problem(null); } catch (error) { problem(error); }
      pressed.disabled = false;
    } });
}

async function explain(source) {
  const told = await call('GET', path(source.id, '/explain'));
  const facts = el('dl', { class: 'facts' });
  for (const { name, value } of told.facts || [])
    facts.append(el('dt', { text: name.replaceAll('_', ' ') }),
      el('dd', { dir: 'auto', text: value === null ? '—' : String(value) }));
  sheet(source.title, el('p', { class: 'lead', dir: 'auto', text: told.summary }),
    told.next_attempt_at && el('p', { text: `Next attempt: ${when(told.next_attempt_at)}` }), facts);
}

async function verb(source, name) {
  show(await call('POST', path(source.id, `/${name}`), {}));
}

async function remove(source) {
  if (!window.confirm(`Delete “${source.title}”? Answers stop using it at once.`)) return;
  await call('DELETE', path(source.id));
  drop(source.id);
}

function drop(id) {
  rows.get(id)?.abort?.abort();
  rows.get(id)?.node.remove();
  rows.delete(id);
  count();
}

function count() {
  $('sources-count').textContent = rows.size ? String(rows.size) : '';
  $('source-list').classList.toggle('empty', rows.size === 0);
}

function buttons(source) {
  const box = el('div', { class: 'actions' });
  const name = source.title;
  if (source.status === 'failed' || source.status === 'cancelled')
    box.append(button('Retry', name, () => verb(source, 'retry')));
  if (active(source)) box.append(button('Cancel', name, () => verb(source, 'cancel')));
  box.append(button('Explain', name, () => explain(source)));
  box.append(button('Delete', name, () => remove(source)));
  return box;
}

function paint(node, source) {
  const focused = node.contains(document.activeElement)
    ? document.activeElement.getAttribute('aria-label') : null;
  node.dataset.status = source.status;
  const bar = el('progress', { max: '1', 'aria-label': `Progress of ${source.title}` });
  bar.value = source.share ?? share(source);
  clear(node).append(
    el('div', { class: 'line' }, el('span', { class: 'name', dir: 'auto', text: source.title }),
      el('span', { class: `state ${source.status}`, text: WORDS[source.status] || source.status })));
  if (active(source) || source.status === 'uploading') node.append(bar);
  node.append(el('div', { class: 'line' }, el('span', { class: 'detail', dir: 'auto', text: detail(source) }),
    source.id && buttons(source)));
  if (focused) node.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
}

async function follow(id, abort) {
  const mine = brand;
  try {
    for await (const { name, data } of stream('GET', path(id, '/events'), undefined, abort.signal)) {
      if (mine !== brand) return;
      if (name === 'status' || name === 'done' || (name === 'error' && data.id)) show(data, true);
      else if (name === 'error' && data.status === 'deleted') drop(id);
    }
  } catch (error) {
    if (error.name === 'AbortError' || mine !== brand) return;
  }
  // The stream may end before the document does (restart, proxy): look again.
  const row = rows.get(id);
  if (!row || row.abort !== abort) return;
  row.abort = null;
  if (!active(row.source)) return;
  setTimeout(async () => {
    if (mine !== brand || !rows.has(id)) return;
    try { show(await call('GET', path(id))); } catch (error) { if (error.status === 404) drop(id); else problem(error); }
  }, 1500);
}

function show(source, following = false, node = null) {
  if (source.brand_id && source.brand_id !== brand) { node?.remove(); return; }
  let row = rows.get(source.id);
  if (!row) {
    row = { node: node || el('li', {}), abort: null };
    rows.set(source.id, row);
    if (!node) $('source-list').append(row.node);
  } else if (node && node !== row.node) {
    node.remove();
  }
  row.source = source;
  paint(row.node, source);
  count();
  if (active(source) && !following && !row.abort) {
    row.abort = new AbortController();
    follow(source.id, row.abort);
  }
}

async function send(file) {
  const target = brand;
  const node = el('li', {});
  const waiting = { title: file.name, status: 'uploading', share: 0 };
  $('source-list').prepend(node);
  $('source-list').classList.remove('empty');
  paint(node, waiting);
  try {
    const source = await upload(brandPath(target, '/knowledge'), file, (done, total) => {
      waiting.share = done / total;
      paint(node, waiting);
    });
    if (target === brand) show(source, false, node); else node.remove();
  } catch (error) {
    paint(node, { title: file.name, status: 'failed', error });
    node.querySelector('.line:last-child').append(
      button('Send again', file.name, async () => { node.remove(); await send(file); }),
      button('Dismiss', file.name, async () => { node.remove(); count(); }));
  }
}

// Three at a time: the server takes more, a browser's six connections do not.
async function sendAll(files) {
  const waiting = [...files];
  await Promise.all([1, 2, 3].map(async () => {
    while (waiting.length) await send(waiting.shift());
  }));
}

async function page() {
  const mine = brand;
  const query = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
  const list = await call('GET', brandPath(brand, `/knowledge?limit=50${query}`));
  if (mine !== brand) return;
  cursor = list.next_cursor;
  for (const source of list.items) show(source);
  $('more-sources').hidden = !cursor;
  count();
}

export async function openSources(next) {
  for (const { abort } of rows.values()) abort?.abort();
  rows.clear();
  clear($('source-list'));
  brand = next;
  cursor = null;
  await page();
}

export function startSources() {
  const zone = $('drop');
  $('files').addEventListener('change', (e) => { sendAll(e.target.files); e.target.value = ''; });
  $('more-sources').addEventListener('click', () => page().catch(problem));
  for (const name of ['dragenter', 'dragover'])
    zone.addEventListener(name, (e) => { e.preventDefault(); zone.classList.add('over'); });
  for (const name of ['dragleave', 'drop'])
    zone.addEventListener(name, (e) => { e.preventDefault(); zone.classList.remove('over'); });
  zone.addEventListener('drop', (e) => sendAll(e.dataTransfer.files));
  // A file that misses the zone must not replace the page.
  for (const name of ['dragover', 'drop']) window.addEventListener(name, (e) => e.preventDefault());
}
