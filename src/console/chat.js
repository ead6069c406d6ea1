// SPDX-License-Identifier: Apache-2.0
// One conversation: streamed turns, citations, guard ledger, feedback.
import { brandPath, call, stream } from './api.js';
import { $, clear, el, problem, safeUrl, sheet, when } from './dom.js';

let brand = null;
let conversation = null;
let running = null;
let onGeneration = () => {};
const user = sessionStorage.getItem('xin.user') || `console-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
sessionStorage.setItem('xin.user', user);

const RTL = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const STRONG = /[\p{L}]/u;
// The first strong letter decides, like dir="auto" does.
export function direction(text, otherwise) {
  const letter = (text.match(STRONG) || [])[0];
  return letter ? (RTL.test(letter) ? 'rtl' : 'ltr') : otherwise;
}

function scroll(force) {
  const log = $('log');
  if (force || log.scrollHeight - log.scrollTop - log.clientHeight < 120) log.scrollTop = log.scrollHeight;
}

function bubble(who, text) {
  const said = el('p', { class: 'text', dir: 'auto', text });
  const node = el('article', { class: `bubble ${who}`, 'aria-label': who === 'user' ? 'You' : 'Answer' }, said);
  $('log').querySelector('.hello')?.remove();
  $('log').append(node);
  return { node, said };
}

function passage(citation) {
  const link = citation.url && safeUrl(citation.url);
  sheet(citation.title || 'Passage',
    el('p', { class: 'quiet', text: `Passage ${citation.chunk + 1}, characters ${citation.start}–${citation.end}` }),
    el('blockquote', { dir: 'auto', text: citation.text || 'The text of this passage is not at hand.' }),
    link && el('a', { href: link, rel: 'noopener noreferrer', target: '_blank', text: link }));
}

function citations(list) {
  const box = el('div', { class: 'chips', 'aria-label': 'Sources' });
  list.forEach((citation, i) => box.append(el('button', { type: 'button', class: 'chip', dir: 'auto',
    text: `${i + 1} · ${citation.title}`, onclick: () => passage(citation) })));
  return box;
}

function ledger(guards) {
  const worst = guards.find((g) => g.action === 'block' && !g.shadow) ? 'block'
    : guards.find((g) => g.action === 'rewrite' && !g.shadow) ? 'rewrite' : 'allow';
  const words = { allow: 'allowed', rewrite: 'rewritten', block: 'blocked' };
  const rows = el('tbody');
  for (const g of guards)
    rows.append(el('tr', {},
      el('td', { text: `${g.guard}${g.shadow ? ' (shadow)' : ''}` }), el('td', { text: g.stage }),
      el('td', {}, el('span', { class: `verdict ${g.action}`, text: words[g.action] || g.action })),
      el('td', { dir: 'auto', text: g.reason || '' }), el('td', { class: 'num', text: `${Number(g.ms || 0).toFixed(2)} ms` })));
  return el('details', { class: 'ledger' },
    el('summary', {}, el('span', { class: `verdict ${worst}`, text: `Guards: ${words[worst]}` }),
      el('span', { class: 'quiet', text: ` ${guards.length} checks` })),
    el('div', { class: 'scroll' }, el('table', {}, el('thead', {}, el('tr', {},
      ...['Guard', 'Stage', 'Verdict', 'Reason', 'Time'].map((text) => el('th', { scope: 'col', text })))), rows)));
}

function feedback(turn) {
  const box = el('span', { class: 'feedback', role: 'group', 'aria-label': 'Was this answer good?' });
  const rate = (rating, sign, label) => el('button', { type: 'button', class: 'small', text: sign,
    'aria-label': label, 'aria-pressed': 'false', onclick: async (event) => {
      const pressed = event.currentTarget;
      try {
        await call('POST', brandPath(brand, `/turns/${encodeURIComponent(turn.id)}/feedback`), { rating });
        for (const b of box.children) b.setAttribute('aria-pressed', String(b === pressed));
      } catch (error) { problem(error); }
    } });
  box.append(rate('up', '👍', 'Good answer'), rate('down', '👎', 'Bad answer'));
  return box;
}

function finish(view, turn) {
  view.said.textContent = turn.reply || '';
  view.node.classList.remove('busy');
  if (turn.outcome === 'blocked') view.node.classList.add('blocked');
  if (turn.citations?.length) view.node.append(citations(turn.citations));
  const foot = el('footer', { class: 'foot' });
  if (turn.guards?.length) foot.append(ledger(turn.guards));
  foot.append(el('span', { class: 'quiet', text: turn.route || '' }),
    el('span', { class: 'badge', title: 'Generation of the scripts that answered', text: String(turn.generation || '') }), feedback(turn));
  view.node.append(foot);
  if (turn.generation) onGeneration(turn.generation);
}

function fail(view, message) {
  view.node.classList.remove('busy');
  view.node.classList.add('failed');
  view.said.textContent = message;
}

function stage(view, text) {
  if (view.node.classList.contains('busy') && !view.started) view.said.textContent = text;
}

function take(view, { name, data }) {
  if (name === 'turn.started') { view.turn = data.id; conversation = data.conversation_id; stage(view, 'Looking…'); }
  else if (name === 'retrieval') stage(view, `Reading ${data.hits?.length ?? 0} passages…`);
  else if (name === 'delta') {
    view.said.textContent = view.started ? view.said.textContent + data.text : data.text;
    view.started = true;
  } else if (name === 'done' || name === 'blocked') {
    conversation = data.conversation_id || conversation;
    finish(view, data);
    return true;
  } else if (name === 'error') { fail(view, data.message || 'The turn failed.'); return true; }
  scroll(false);
  return false;
}

async function ask(text) {
  bubble('user', text);
  const view = bubble('bot busy', 'Thinking…');
  const mine = brand;
  running = { abort: new AbortController(), view };
  $('send').textContent = 'Stop';
  scroll(true);
  let ended = false;
  try {
    const body = { message: text, user: { id: user }, stream: true };
    if (conversation) body.conversation_id = conversation;
    for await (const event of stream('POST', brandPath(brand, '/turns'), body, running.abort.signal))
      if (mine === brand && take(view, event)) ended = true;
    if (!ended) fail(view, 'The connection ended before the answer did.');
  } catch (error) {
    fail(view, error.name === 'AbortError' ? 'Stopped.' : error.message);
  }
  running = null;
  $('send').textContent = 'Send';
  scroll(true);
  if (mine === brand) list().catch(problem);
}

async function stop() {
  const { view, abort } = running;
  if (view.turn) {
    try { await call('POST', brandPath(brand, `/turns/${encodeURIComponent(view.turn)}/cancel`), {}); } catch { /* it has ended */ }
  }
  abort.abort();
}

function hello() {
  clear($('log')).append(el('div', { class: 'hello' },
    el('p', { class: 'lead', text: 'Ask a question about your documents.' }),
    el('p', { class: 'quiet', text: 'Every answer shows its sources and what each guard decided.' })));
}

async function list() {
  const mine = brand;
  const page = await call('GET', brandPath(brand, `/conversations?limit=50&user_id=${encodeURIComponent(user)}`));
  if (mine !== brand) return;
  const pick = clear($('conversations'));
  pick.append(el('option', { value: '', text: 'New conversation' }));
  for (const c of page.items)
    pick.append(el('option', { value: c.id, text: `${when(c.updated_at) || c.id}${c.status && c.status !== 'open' ? ` · ${c.status}` : ''}` }));
  pick.value = conversation || '';
  if (pick.selectedIndex < 0) pick.value = '';
}

async function choose(id) {
  running?.abort.abort();
  conversation = id || null;
  hello();
  if (!id) return;
  const page = await call('GET', brandPath(brand, `/conversations/${encodeURIComponent(id)}/messages?limit=200`));
  for (const m of page.items) bubble(m.role === 'user' ? 'user' : 'bot', m.text ?? m.content ?? '');
  scroll(true);
}

export async function openChat(next) {
  running?.abort.abort();
  brand = next.id;
  conversation = null;
  $('chat').dir = next.direction;
  $('log').dataset.direction = next.direction;
  hello();
  steer();
  await list();
}

// The row of field and button follows what is being written.
function steer() {
  const field = $('message');
  $('composer').dir = direction(field.value, $('chat').dir || 'ltr');
  field.dir = $('composer').dir;
  field.rows = Math.min(6, field.value.split('\n').length);
}

export function startChat(generationSeen) {
  onGeneration = generationSeen;
  const field = $('message');
  field.addEventListener('input', steer);
  field.addEventListener('keydown', (e) => {
    if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); $('composer').requestSubmit(); }
  });
  $('composer').addEventListener('submit', (e) => {
    e.preventDefault();
    if (running) { stop(); return; }
    const text = field.value.trim();
    if (!text || !brand) return;
    field.value = '';
    steer();
    ask(text);
  });
  $('conversations').addEventListener('change', (e) => choose(e.target.value).catch(problem));
  $('new-chat').addEventListener('click', () => {
    choose('').catch(problem);
    $('conversations').value = '';
    field.focus();
  });
}
