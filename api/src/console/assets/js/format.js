// Numbers, spans and times for people.

import { h } from './dom.js';

let skew = 0;

/** Learns from a response how far this machine's clock is from the server's; whole seconds are all that the header has. */
export function learnClock(date) {
  const server = Date.parse(date ?? '');
  if (Number.isNaN(server)) return;
  const off = server - Date.now();
  skew = Math.abs(off) > 2000 ? off : 0;
}

/** The server's time, in milliseconds. */
export const now = () => Date.now() + skew;

const NUMBER = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 1 });
const WHEN = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 });

export const number = (n) => (n === null || n === undefined ? '–' : NUMBER.format(n));

/** 1234567 as 1.2 M, for where there is little room. */
export function compact(n) {
  if (n === null || n === undefined) return '–';
  if (n >= 1e6) return `${NUMBER.format(n / 1e6)} M`;
  return n >= 1e5 ? `${NUMBER.format(n / 1e3)} k` : NUMBER.format(n);
}

/** 3723.4 as "1 h 2 min". */
export function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return '–';
  const n = Math.max(0, seconds);
  if (n < 0.001) return '0 s';
  if (n < 1) return `${Math.round(n * 1000)} ms`;
  if (n < 60) return `${n < 10 ? n.toFixed(1) : Math.round(n)} s`;
  const parts = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const first = parts.findIndex(([, size]) => n >= size);
  const [[big, size], [small, less] = []] = parts.slice(first);
  const rest = less ? Math.floor((n % size) / less) : 0;
  return `${Math.floor(n / size)} ${big}${rest ? ` ${rest} ${small}` : ''}`;
}

const seconds = (a, b) => (Date.parse(b) - Date.parse(a)) / 1000;

/** The time between two instants. */
export const between = (a, b) => (a && b ? span(seconds(a, b)) : '–');

/** How long since an instant. */
export const since = (at) => (at ? span((now() - Date.parse(at)) / 1000) : '–');

/** "3 min ago" or "in 3 min", with the exact time as its title. */
export function when(at) {
  if (!at) return '–';
  const off = (now() - Date.parse(at)) / 1000;
  const text = off >= 0 ? `${span(off < 1 ? 0 : Math.floor(off))} ago` : `in ${span(Math.ceil(-off))}`;
  return h('time', { datetime: at, title: `${WHEN.format(new Date(at))} (${at})` }, Math.abs(off) < 1 ? 'now' : text);
}

/** The exact time. */
export const exact = (at) => (at ? h('time', { datetime: at, title: at }, WHEN.format(new Date(at))) : '–');

/** The time of day, to the millisecond. */
export const clock = (at) => h('time', { datetime: at, title: at }, CLOCK.format(new Date(at)));

/** An id short enough for a table; the whole of it as its title. The end, because ids begin with the time. */
export const short = (id) => (id ? h('code', { class: 'id', title: id }, `…${String(id).slice(-8)}`) : '–');

/** A value of the API whose shape this page does not know. */
export const plain = (value) => (typeof value === 'string' ? value : JSON.stringify(value));

export const money = (m) => (m ? `${m.amount} ${m.currency}` : '–');

/** "1 job", "2 jobs". */
export const count = (n, one, many = `${one}s`) => `${NUMBER.format(n)} ${n === 1 ? one : many}`;

/** Now, minus so many seconds, as the API wants times. */
export const ago = (s) => new Date(now() - s * 1000).toISOString();
