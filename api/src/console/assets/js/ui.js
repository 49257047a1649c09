// The parts that pages are made of.

import { h, s } from './dom.js';
import { who } from './api.js';
import { number } from './format.js';

const ICONS = {
  overview: 'M3 12h4l3-8 4 16 3-8h4',
  queues: 'M4 6h16M4 12h16M4 18h10',
  kinds: 'M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z',
  workers: 'M4 5h16v11H4zM9 20h6M12 16v4',
  jobs: 'M5 4h14v16H5zM9 9l2 2 4-4M9 15h6',
  dead: 'M12 3l9 17H3zM12 10v4M12 17v.5',
  flows: 'M6 4v4M6 8h12v4M6 8v8M4 16h4v4H4zM16 12h4v4h-4z',
  schedules: 'M12 3a9 9 0 100 18 9 9 0 000-18zM12 7v5l3 3',
  events: 'M5 12a7 7 0 0114 0M8 12a4 4 0 018 0M12 12v8',
  dependencies: 'M9 7H6a5 5 0 000 10h3M15 7h3a5 5 0 010 10h-3M8 12h8',
  orders: 'M5 7h14l-1 13H6zM9 7a3 3 0 016 0',
  audit: 'M6 3h9l4 4v14H6zM9 11h7M9 15h7M15 3v4h4',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  menu: 'M4 7h16M4 12h16M4 17h16',
  sun: 'M12 8a4 4 0 100 8 4 4 0 000-8zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6l1.5 1.5M16.9 16.9l1.5 1.5M18.4 5.6l-1.5 1.5M7.1 16.9l-1.5 1.5',
  out: 'M10 4H5v16h5M14 8l4 4-4 4M18 12H9',
};

export const icon = (name) =>
  s('svg', { class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true' }, s('path', { d: ICONS[name] }));

/** A link within the console. */
export const link = (to, ...content) => h('a', { href: `#/${to}` }, ...content);

const id = encodeURIComponent;
export const jobLink = (job, text) => link(`jobs/${id(job)}`, text ?? h('code', { class: 'id', title: job }, `…${job.slice(-8)}`));
export const queueLink = (queue) => link(`queues/${id(queue)}`, queue);
export const kindLink = (kind) => link(`jobs?kind=${id(kind)}`, kind);

/** Who did something, as the record of actions names them. */
export function by(actor) {
  if (!actor) return '–';
  if (actor === who()?.actor) return h('span', { title: actor }, 'you');
  const [kind, id] = actor.split(':');
  return h('code', { class: 'id', title: actor }, id?.length > 12 ? `${kind.replace('_', ' ')} …${id.slice(-8)}` : actor);
}

/** What holds jobs back, as queues and jobs name it. */
export function holdWords(reason) {
  const known = { partition: 'others of its key are in front', key: 'its key is at its limit' };
  return known[reason] ?? reason.replace(/^kind:(.*)$/, 'the kind $1 is paused').replace(/^needs:(.*)$/, '$1 is down');
}

/** Colours of states: their meaning, not their name. */
const TONES = {
  done: 'good', ok: 'good', confirmed: 'good', delivered: 'good', up: 'good', alive: 'good', succeeded: 'good', completed: 'good',
  running: 'busy', processing: 'busy', shipped: 'busy', captured: 'good', authorized: 'busy', reserved: 'busy',
  scheduled: 'calm', queued: 'wait', pending: 'wait', waiting: 'wait', accepted: 'wait', retry: 'wait', snoozed: 'wait', paused: 'warn',
  draining: 'warn', drained: 'warn', quiet: 'warn', held: 'warn', compensating: 'warn', timed_out: 'bad', lost: 'bad', failed: 'bad',
  dead: 'bad', down: 'bad', broken: 'bad', declined: 'bad', error: 'bad', gone: 'bad', cancelled: 'calm', discarded: 'calm', refunded: 'calm',
};

export const pill = (state, text = state, title) =>
  h('span', { class: `pill ${TONES[state] ?? 'calm'}`, title }, String(text).replaceAll('_', ' '));

export const button = (label, onclick, { kind = '', ...more } = {}) =>
  h('button', { type: 'button', class: `button ${kind}`, onclick, ...more }, label);

/** A heading with what belongs beside it. */
export const head = (title, ...beside) =>
  h('header', { class: 'page-head' }, h('h1', { tabindex: '-1' }, title), h('div', { class: 'actions' }, ...beside));

export const panel = (title, beside, ...content) =>
  h('section', { class: 'panel', 'aria-label': title },
    h('header', { class: 'panel-head' }, h('h2', {}, title), h('div', { class: 'beside' }, beside)), ...content);

/** Nothing to show, and what to do about it. */
export const empty = (title, ...hint) => h('div', { class: 'empty' }, h('p', { class: 'empty-title' }, title), h('p', {}, ...hint));

/** Names and values. */
export const facts = (rows) =>
  h('dl', { class: 'facts' },
    rows.filter((row) => row && row[1] !== undefined && row[1] !== null && row[1] !== '')
      .map(([name, ...value]) => h('div', { key: name }, h('dt', {}, name), h('dd', {}, ...value))));

/**
 * A table. `columns` are `{ head, cell(row), num, wide }`; rows have keys, so that what has focus keeps it. On a phone each
 * row is a card, which is why roles are written out: a table that is no longer laid out as one loses them.
 */
export function table(label, columns, rows, key, nothing) {
  if (!rows.length) return nothing ?? empty('Nothing here', '');
  const lead = columns.find((c) => !c.box);
  const cls = (c) => [c.num && 'num', c.wide && 'wide', c.box && 'box', c === lead && 'lead'].filter(Boolean).join(' ') || undefined;
  return h('div', { class: 'table-wrap' },
    h('table', { role: 'table', 'aria-label': label },
      h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' },
        columns.map((c) => h('th', { role: 'columnheader', scope: 'col', class: cls(c) }, c.head)))),
      h('tbody', { role: 'rowgroup' }, rows.map((row) =>
        h('tr', { role: 'row', key: key(row), 'data-row': true }, columns.map((c) =>
          h('td', { role: 'cell', class: cls(c), 'data-label': typeof c.head === 'string' ? c.head : (c.label ?? '') }, c.cell(row))))))));
}

/** Older and newest pages of a list that goes by cursors; they are links, so the browser's Back is the page before. */
export function pager(ctx, next) {
  const first = !ctx.query.get('cursor');
  if (first && !next) return null;
  return h('nav', { class: 'pager', 'aria-label': 'Pages' },
    first ? null : h('a', { class: 'button', href: ctx.hash({ cursor: null }) }, '« Newest'),
    first ? null : h('button', { class: 'button', type: 'button', onclick: () => history.back() }, '‹ Newer'),
    next ? h('a', { class: 'button', href: ctx.hash({ cursor: next }) }, 'Older ›') : null);
}

/** A line of what was seen in the last minutes. */
export function spark(points, label, { width = 120, height = 28 } = {}) {
  const values = points.map((p) => p.value);
  const most = Math.max(...values, 0);
  const text = values.length ? `${label}: now ${number(values.at(-1))}, most ${number(most)} in the last minutes` : label;
  const x = (i) => (values.length < 2 ? 0 : (i / (values.length - 1)) * width);
  const y = (v) => height - 2 - (most ? (v / most) * (height - 4) : 0);
  const line = values.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(' ');
  return s('svg', { class: 'spark', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': text },
    values.length > 1 ? s('polygon', { class: 'area', points: `0,${height} ${line} ${width},${height}` }) : null,
    values.length > 1 ? s('polyline', { class: 'line', points: line }) : null);
}

/** A value as indented JSON, each part coloured by its type. */
export function json(value) {
  const text = JSON.stringify(value, null, 2) ?? 'null';
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    parts.push(text.slice(from, match.index));
    const kind = match[1] ? (match[2] ? 'name' : 'text') : match[3] ? 'word' : 'number';
    parts.push(h('span', { class: `j-${kind}` }, match[1] ?? match[0]), match[2] ?? '');
    from = match.index + match[0].length;
  }
  parts.push(text.slice(from));
  return h('pre', { class: 'json', tabindex: '0' }, parts);
}

/** Copies a text; for ids. */
export const copy = (text) =>
  h('button', {
    type: 'button', class: 'copy', title: `Copy ${text}`, 'aria-label': 'Copy',
    onclick: ({ currentTarget }) => {
      navigator.clipboard?.writeText(text);
      currentTarget.classList.add('copied');
      setTimeout(() => currentTarget.classList.remove('copied'), 900);
    },
  }, icon('copy'));

/** How far something says it is: a bar if it names a part and a whole, else its words. */
export function progress(value) {
  if (value === null || value === undefined) return null;
  const of = (...names) => names.map((name) => value?.[name]).find((n) => typeof n === 'number');
  const percent = of('percent', 'percentage');
  const [done, total] = percent === undefined ? [of('done', 'rows', 'processed', 'current', 'read'), of('total', 'of', 'all')] : [percent, 100];
  const words = typeof value === 'object'
    ? Object.entries(value).filter(([, v]) => typeof v !== 'object').map(([k, v]) => `${k} ${v}`).join(', ') : String(value);
  if (done === undefined || !total) return h('span', { class: 'muted' }, words);
  return h('span', { class: 'progress' },
    h('progress', { value: Math.min(done, total), max: total, 'aria-label': words }), h('span', {}, `${Math.round((100 * done) / total)} %`));
}
