// The API, with whoever is signed in. Credentials live in this tab's sessionStorage and end with it.

import { learnClock } from './format.js';

const STORE = 'waybill.session';
/** The API stands beside the console, behind whatever prefix a proxy gives both. */
const ROOT = new URL('../', document.baseURI);
/** Seconds before its end at which an access token is renewed. */
const EARLY = 30;

/** An error of the API (RFC 9457), or of the way to it (status 0). */
export class Problem extends Error {
  constructor(status, body, fallback) {
    super(body?.detail ?? fallback);
    this.status = status;
    this.title = body?.title ?? fallback;
    this.detail = body?.detail ?? '';
    this.code = body?.code ?? '';
    this.requestId = body?.request_id ?? '';
    this.errors = body?.errors ?? [];
    this.retryAfter = 0;
  }
}

let current = read();
let leave = () => {};
const tabs = new BroadcastChannel('waybill-console');

// A tab that was duplicated holds the same refresh token, which works once: whoever uses it tells the others.
tabs.onmessage = ({ data }) => {
  if (current?.refresh && data?.old === current.refresh) save({ ...current, ...data.fresh });
};

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE));
  } catch {
    return null;
  }
}

function save(session) {
  current = session;
  if (session) sessionStorage.setItem(STORE, JSON.stringify(session));
  else sessionStorage.removeItem(STORE);
}

/** Who is signed in: `{ name, … }`, or null. */
export const who = () => current;

/** What to do when the session has ended. */
export const onLeave = (f) => (leave = f);

const tokens = (auth) => ({
  token: auth.access_token,
  refresh: auth.refresh_token,
  until: Date.now() + auth.expires_in * 1000,
});

/** Signs in with an administrator's address and password. */
export async function signIn(email, password) {
  const auth = await send('POST', 'v1/auth/login', { body: { email, password } });
  await enter({ name: auth.user.email, actor: `admin:${auth.user.id}`, ...tokens(auth) });
}

/** Signs in with an API key. */
export const useKey = (key) => enter({ name: `key ${key.slice(0, 8)}…`, key });

// Whoever may not look at the system is not let in, and is told why.
async function enter(session) {
  save(session);
  try {
    await send('GET', 'v1/admin/system', {});
  } catch (problem) {
    if (session.token) await send('POST', 'v1/auth/logout', {}).catch(() => {});
    save(null);
    throw problem;
  }
}

export async function signOut() {
  if (current?.token) await send('POST', 'v1/auth/logout', {}).catch(() => {});
  save(null);
  leave();
}

async function renew() {
  const old = current?.refresh;
  if (!old) return false;
  return navigator.locks.request('waybill-console-refresh', async () => {
    // Another tab may have done it while this one waited.
    if (current?.refresh !== old) return Boolean(current);
    const response = await fetch(new URL('v1/auth/refresh', ROOT), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ refresh_token: old }),
    });
    if (!response.ok) return false;
    const fresh = tokens(await response.json());
    save({ ...current, ...fresh });
    tabs.postMessage({ old, fresh });
    return true;
  });
}

function headers(more) {
  const all = { accept: 'application/json', ...more };
  if (current?.key) all['x-api-key'] = current.key;
  else if (current?.token) all.authorization = `Bearer ${current.token}`;
  return all;
}

/** `path` with the parts of `query` that are set. */
export function url(path, query = {}) {
  const target = new URL(path.replace(/^\//, ''), ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') target.searchParams.set(name, value);
  }
  return target;
}

async function send(method, path, { query, body, signal, accept, more = {} }) {
  if (accept) more = { ...more, accept };
  if (body !== undefined) more = { ...more, 'content-type': 'application/json' };
  let response;
  try {
    response = await fetch(url(path, query), {
      method, signal, headers: headers(more), cache: 'no-store', credentials: 'omit',
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, null, 'The API does not answer');
  }
  learnClock(response.headers.get('date'));
  if (response.ok) {
    if (accept) return response;
    return response.status === 204 ? null : response.json();
  }
  const problem = new Problem(response.status, await response.json().catch(() => null), `HTTP ${response.status}`);
  problem.requestId ||= response.headers.get('x-request-id') ?? '';
  problem.retryAfter = Number(response.headers.get('retry-after')) || 0;
  throw problem;
}

/** Sends a request as whoever is signed in; renews the session if it must, and leads to the log-in if it cannot. */
export async function call(method, path, options = {}) {
  if (current?.until && current.until - Date.now() < EARLY * 1000) await renew().catch(() => false);
  const used = current;
  try {
    return await send(method, path, options);
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    if (await renew().catch(() => false)) return send(method, path, options);
    if (current === used) {
      save(null);
      leave(problem);
    }
    throw problem;
  }
}

export const get = (path, query, signal) => call('GET', path, { query, signal });
export const post = (path, body = {}, query) => call('POST', path, { body, query });
export const put = (path, body) => call('PUT', path, { body });
export const del = (path) => call('DELETE', path);

/** GET of what older versions of the API do not have: null then. */
export async function maybe(path, query, signal) {
  try {
    return await get(path, query, signal);
  } catch (problem) {
    if (problem.status === 404 || problem.status === 405) return null;
    throw problem;
  }
}
