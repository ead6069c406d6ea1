// SPDX-License-Identifier: Apache-2.0
// The script generation in service, and what the last attempt came to.
import { call } from './api.js';
import { $, clear, el, problem, when } from './dom.js';

const WORDS = { activated: 'Activated', rejected: 'Refused: the old scripts keep answering', unchanged: 'Unchanged', rolled_back: 'Rolled back' };

export function paintGeneration(id) {
  $('generation').textContent = `gen ${id}`;
}

function paint(status) {
  const active = status.active || {};
  const last = status.last_attempt || {};
  if (active.generation !== undefined) paintGeneration(active.generation);
  $('generation').classList.toggle('bad', last.result === 'rejected' || Boolean(status.degraded));
  const body = clear($('scripts-body'));
  const facts = el('dl', { class: 'facts' });
  const fact = (name, value) => value && facts.append(el('dt', { text: name }), el('dd', { dir: 'auto', text: value }));
  fact('Active', `${active.generation ?? '—'}${status.pinned ? ' (pinned)' : ''}${status.degraded ? ' (last good)' : ''}`);
  fact('Since', when(active.since));
  fact('Brands', (status.brands || []).map((b) => b.id || b).join(', '));
  fact('Last attempt', WORDS[last.result] || last.result);
  fact('At', when(last.at));
  body.append(facts);
  if (!last.errors?.length) return;
  const list = el('ul', { class: 'errors' });
  for (const { file, line, message } of last.errors)
    list.append(el('li', {}, el('code', { text: line ? `${file}:${line}` : file }), el('span', { dir: 'auto', text: message })));
  body.append(list);
}

export async function refreshScripts() {
  paint(await call('GET', '/v1/scripts'));
}

export function startScripts() {
  $('reload').addEventListener('click', async () => {
    $('reload').disabled = true;
    try {
      paint(await call('POST', '/v1/scripts/reload', {}));
      problem(null);
    } catch (error) {
      if (error.status === 409 && error.body?.active) paint(error.body); else problem(error);
    }
    $('reload').disabled = false;
  });
  setInterval(() => {
    if (document.visibilityState === 'visible') refreshScripts().catch(() => {});
  }, 5000);
}
