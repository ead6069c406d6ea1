// SPDX-License-Identifier: Apache-2.0
// The page as a whole: key, brand, panels.
import { call, setKey, whenUnauthorized } from './api.js';
import { $, clear, el, problem } from './dom.js';
import { openChat, startChat } from './chat.js';
import { openSources, startSources } from './sources.js';
import { paintGeneration, refreshScripts, startScripts } from './scripts.js';

const TABS = ['chat', 'sources', 'scripts'];
let brands = [];

function showTab(name) {
  for (const tab of TABS) {
    const on = tab === name;
    $(`tab-${tab}`).setAttribute('aria-selected', String(on));
    $(`tab-${tab}`).tabIndex = on ? 0 : -1;
    $(tab).classList.toggle('current', on);
  }
}

function startTabs() {
  TABS.forEach((name, i) => {
    const tab = $(`tab-${name}`);
    tab.addEventListener('click', () => showTab(name));
    tab.addEventListener('keydown', (e) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (!step) return;
      const next = TABS[(i + step + TABS.length) % TABS.length];
      showTab(next);
      $(`tab-${next}`).focus();
    });
  });
  showTab('chat');
  $('generation').addEventListener('click', () => { showTab('scripts'); $('scripts').scrollIntoView({ block: 'nearest' }); $('reload').focus(); });
}

async function openBrand(id) {
  const brand = brands.find((b) => b.id === id) || brands[0];
  if (!brand) return;
  $('brand').value = brand.id;
  sessionStorage.setItem('xin.brand', brand.id);
  problem(null);
  const results = await Promise.allSettled([openChat(brand), openSources(brand.id)]);
  const failed = results.find((r) => r.status === 'rejected');
  if (failed && failed.reason.status !== 401) problem(failed.reason);
}

async function load() {
  brands = (await call('GET', '/v1/brands')).brands;
  const pick = clear($('brand'));
  for (const b of brands) pick.append(el('option', { value: b.id, dir: 'auto', text: b.title || b.id }));
  if (brands.length === 0) problem(new Error('There are no brands: add lua/brands/<name>.lua.'));
  $('key-form').hidden = true;
  refreshScripts().catch(() => {});
  await openBrand(sessionStorage.getItem('xin.brand') || 'default');
}

const reload = () => load().catch((error) => { if (error.status !== 401) problem(error); });

function start() {
  whenUnauthorized(() => { $('key-form').hidden = false; });
  $('key-form').addEventListener('submit', (e) => {
    e.preventDefault();
    const key = $('key').value.trim();
    if (!key) return;
    setKey(key);
    $('key').value = '';
    reload();
  });
  $('brand').addEventListener('change', (e) => openBrand(e.target.value));
  $('sheet-close').addEventListener('click', () => $('sheet').close());
  $('sheet').addEventListener('click', (e) => { if (e.target === $('sheet')) $('sheet').close(); });
  startTabs();
  startSources();
  startChat(paintGeneration);
  startScripts();
  reload();
}
start();
