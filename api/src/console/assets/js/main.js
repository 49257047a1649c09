// Which page is shown, and keeping it up to date.

import { h, render } from './dom.js';
import { onLeave, who } from './api.js';
import { poll } from './live.js';
import { button } from './ui.js';
import { problemBox } from './dialogs.js';
import { applyTheme, keys, lay, paintFrame } from './frame.js';
import * as store from './store.js';
import { login } from './login.js';
import { find } from './routes.js';

const app = document.getElementById('app');
let main = null;
let ctx = null;
let session = null;

/** A page as it is shown: its address, what it remembers, and how it is brought up to date. */
class Context {
  constructor({ page, params }, path, query) {
    Object.assign(this, { page, params, path, query, state: {}, data: undefined, problem: null });
    this.leaving = new AbortController();
    this.signal = AbortSignal.any([this.leaving.signal, session.signal]);
    this.reload = () => {};
  }

  /** The address of this page with some parameters changed; those that are empty are left out. */
  hash(changes) {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === '') query.delete(name);
      else query.set(name, value);
    }
    return `#/${this.path}${query.size ? `?${query}` : ''}`;
  }

  /** Renders anew from what is known. */
  update() {
    if (ctx === this && !this.signal.aborted) paint();
  }

  open() {
    this.page.init?.(this);
    store.onPulse(() => (this.page.pulse ? this.update() : paintFrame()), this.signal);
    if (!this.page.load) return this.update();
    // A fast answer is not preceded by the flicker of a placeholder.
    const waiting = setTimeout(() => this.update(), 200);
    this.reload = poll((signal) => this.ask(signal).finally(() => clearTimeout(waiting)), this.page.every ?? 4000, this.signal);
  }

  async ask(signal) {
    try {
      this.data = await this.page.load(this, signal);
      this.problem = null;
    } catch (problem) {
      if (!signal.aborted) {
        this.problem = problem;
        this.update();
      }
      throw problem;
    }
    if (!signal.aborted) this.update();
  }
}

function content() {
  const { page, data, problem } = ctx;
  if (page.load && data === undefined) {
    return h('div', { key: `${page.name} none`, class: 'page' }, problem
      ? [h('h1', { tabindex: '-1' }, page.title), problemBox(problem), button('Try again', () => ctx.reload())]
      : h('div', { class: 'skeleton', role: 'status', 'aria-label': 'Loading' }, h('i', {}), h('i', {}), h('i', {})));
  }
  return h('div', { key: `${page.name} ${Object.values(ctx.params).join('/')}`, class: `page page-${page.name}` },
    problem ? h('div', { class: 'stale', key: 'stale' }, h('p', {}, 'This is not up to date:'), problemBox(problem)) : null, page.view(ctx, data));
}

function paint() {
  paintFrame();
  try {
    render(main, content());
  } catch (error) {
    console.error(error);
    render(main, problemBox(error));
  }
}

function route() {
  if (!session) return;
  document.body.classList.remove('menu-open');
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const before = ctx;
  before?.leaving.abort();
  ctx = new Context(find(path), path, new URLSearchParams(query));
  const again = before?.path === path;
  // The same page with another filter keeps what it remembers, and shows the old rows until there are new ones.
  if (again) Object.assign(ctx, { state: before.state, data: before.data });
  document.title = `${ctx.page.title} · Waybill`;
  paintFrame();
  ctx.open();
  if (again) return;
  window.scrollTo(0, 0);
  main.focus({ preventScroll: true });
}

function enter() {
  session = new AbortController();
  document.body.classList.remove('signed-out');
  main = lay(app);
  store.start(session.signal);
  route();
}

function leave(problem) {
  session?.abort();
  session = null;
  ctx = null;
  document.querySelectorAll('dialog').forEach((dialog) => dialog.close());
  document.body.classList.add('signed-out');
  document.title = 'Sign in · Waybill';
  login(app, problem, enter);
}

applyTheme();
onLeave(leave);
window.addEventListener('hashchange', route);
document.addEventListener('keydown', (event) => keys(event, () => { store.look(); ctx?.reload(); }));
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  main?.focus();
});
if (who()) enter();
else leave();
