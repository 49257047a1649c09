// What surrounds every page: the header, the navigation, and the keys.

import { h, render } from './dom.js';
import { signOut, who } from './api.js';
import { isLive, setLive } from './live.js';
import { button, icon } from './ui.js';
import { ask, complain } from './dialogs.js';
import * as store from './store.js';
import { NAVIGATION } from './routes.js';

let parts = null;

/** Lays the frame into `app`; answers with the element that pages are shown in. */
export function lay(app) {
  parts = { top: h('header', { class: 'top' }), side: h('nav', { class: 'side', 'aria-label': 'Pages' }), main: h('main', { id: 'main', tabindex: '-1' }) };
  app.replaceChildren(parts.top, parts.side, parts.main);
  return parts.main;
}

/** Brings header and navigation up to date. */
export function paintFrame() {
  if (!parts) return;
  const { data, problem } = store.pulse;
  const badges = data ? { dead: store.totals(data).dead, queues: store.totals(data).paused } : {};
  const here = location.hash.slice(2).split(/[/?]/)[0];
  const [state, says, hint] = problem
    ? ['off', 'No answer', `No answer: ${problem.message}`]
    : isLive() ? ['on', 'Live', 'Follows what happens; press to hold still'] : ['paused', 'Still', 'Holds still; press to follow'];
  render(parts.top,
    button(icon('menu'), () => document.body.classList.toggle('menu-open'), { kind: 'bare menu', 'aria-label': 'Menu' }),
    h('a', { class: 'brand', href: '#/' }, h('img', { src: 'icon.svg', alt: '', width: '24', height: '24' }), 'Waybill', h('small', {}, 'console')),
    h('div', { class: 'top-right' },
      h('button', {
        type: 'button', class: `live ${state}`, 'aria-pressed': String(isLive()), title: hint,
        onclick: () => { setLive(!isLive()); paintFrame(); },
      }, h('i', {}), says),
      button(icon('sun'), nextTheme, { kind: 'bare', 'aria-label': 'Light or dark', title: 'Light, dark, or as the system' }),
      h('span', { class: 'who', title: who()?.name }, who()?.name ?? ''),
      button(icon('out'), () => signOut().catch(complain), { kind: 'bare', 'aria-label': 'Sign out', title: 'Sign out' })));
  const told = { dead: 'dead letters', queues: 'paused' };
  render(parts.side, NAVIGATION.map((group) =>
    h('ul', { key: group[0].name }, group.map(({ name, title, path }) =>
      h('li', { key: name }, h('a', { href: `#/${path}`, 'aria-current': here === path ? 'page' : undefined, 'data-nav': name },
        icon(name), h('span', {}, title),
        badges[name] ? h('b', { class: `badge ${name}`, title: `${badges[name]} ${told[name]}` }, badges[name]) : null))))));
}

const THEME = 'waybill.theme';

function nextTheme() {
  const order = ['', 'light', 'dark'];
  localStorage.setItem(THEME, order[(order.indexOf(localStorage.getItem(THEME) ?? '') + 1) % order.length]);
  applyTheme();
}

/** Light, dark, or as the system has it. */
export function applyTheme() {
  document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? '';
}

const KEYS = Object.fromEntries(NAVIGATION.flat().map(({ key, path }) => [key, path]));
/** Milliseconds after `g` within which a second key goes somewhere. */
const PATIENCE = 1500;
let went = 0;

/** What a key does; `reload` asks for the page's data again. */
export function keys(event, reload) {
  const typing = event.target.closest?.('input, textarea, select, dialog');
  if (!who() || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const { key } = event;
  const second = Date.now() - went < PATIENCE;
  went = key === 'g' ? Date.now() : 0;
  if (second && key in KEYS) location.hash = `#/${KEYS[key]}`;
  else if (key === '/') document.querySelector('[data-search]')?.focus();
  else if (key === 'r') reload();
  else if (key === 'j' || key === 'k') walk(key === 'j' ? 1 : -1);
  else if (key === '?') help();
  else return;
  event.preventDefault();
}

function walk(step) {
  const links = [...document.querySelectorAll('[data-row]')].map((row) => row.querySelector('a')).filter(Boolean);
  const row = document.activeElement?.closest('[data-row]');
  const at = links.findIndex((link) => row?.contains(link));
  links[Math.max(0, Math.min(links.length - 1, at + step))]?.focus();
}

function help() {
  const rows = [['/', 'to the search'], ['r', 'ask again now'], ['j  k', 'next and previous row'], ['Enter', 'open it'], ['?', 'this list'],
    ...NAVIGATION.flat().map(({ key, title }) => [`g ${key}`, title])];
  const list = h('dl', { class: 'keys' }, rows.map(([k, what]) => h('div', {}, h('dt', {}, h('kbd', {}, k)), h('dd', {}, what))));
  ask({ title: 'Keys', text: list, confirm: 'Close', cancel: false });
}
