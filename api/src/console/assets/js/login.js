// Signing in: an administrator in person, or an API key.

import { h } from './dom.js';
import { signIn, useKey } from './api.js';
import { problemBox } from './dialogs.js';

/** Shows the log-in; calls `enter` when somebody is in. `problem` is why the session before ended. */
export function login(app, problem, enter) {
  let withKey = false;
  draw();

  function draw() {
    const errors = h('div', { role: 'alert' }, problem
      ? h('p', { class: 'notice' }, 'The session has ended. Sign in again to go on where you were.') : null);
    const submit = h('button', { class: 'button primary', type: 'submit' }, 'Sign in');
    const input = (name, label, more) =>
      h('div', { class: 'field' }, h('label', { for: name }, label), h('input', { id: name, name, required: true, ...more }));
    const form = h('form', {
      class: 'login',
      onsubmit: async (event) => {
        event.preventDefault();
        submit.disabled = true;
        errors.replaceChildren();
        const { email, password, key } = form.elements;
        try {
          await (withKey ? useKey(key.value.trim()) : signIn(email.value.trim(), password.value));
          enter();
        } catch (failed) {
          errors.replaceChildren(explain(failed));
          submit.disabled = false;
        }
      },
    },
      h('img', { src: 'icon.svg', alt: '', width: '44', height: '44' }),
      h('h1', {}, 'Waybill console'),
      withKey
        ? input('key', 'API key', { type: 'password', autocomplete: 'off', placeholder: 'wbk_…' })
        : [input('email', 'E-mail', { type: 'email', autocomplete: 'username' }),
          input('password', 'Password', { type: 'password', autocomplete: 'current-password' })],
      errors, submit,
      h('button', { class: 'link', type: 'button', onclick: () => { withKey = !withKey; problem = null; draw(); } },
        withKey ? 'Sign in with e-mail and password' : 'Use an API key instead'),
      h('p', { class: 'hint' }, withKey
        ? 'With system:read it may look, with system:write also change; orders:read shows orders.'
        : 'For administrators. What you do is recorded under your name.'));
    app.replaceChildren(h('main', { id: 'main', class: 'login-page' }, form));
    form.querySelector('input').focus();
  }
}

function explain(problem) {
  if (problem.status === 403) {
    return h('div', { class: 'problem' }, h('strong', {}, 'Not for this account'), h('p', {}, 'It is no administrator’s, and has no scope system:read.'));
  }
  return problemBox(problem);
}
