// SPDX-License-Identifier: Apache-2.0
// Requests to the API on this origin: key, errors, event streams.
const KEY = 'xin.key';
let onUnauthorized = () => {};

export const setKey = (key) => sessionStorage.setItem(KEY, key);
export const whenUnauthorized = (fn) => { onUnauthorized = fn; };

export class ApiError extends Error {
  constructor(status, body, requestId) {
    const error = body?.error || {};
    super(error.message || `The server answered ${status}.`);
    this.status = status;
    this.code = error.code || 'error';
    this.retryable = Boolean(error.retryable);
    this.requestId = error.request_id || requestId;
    this.body = body;
  }
}

function headers(extra) {
  const all = new Headers(extra);
  const key = sessionStorage.getItem(KEY);
  if (key) all.set('Authorization', `Bearer ${key}`);
  return all;
}

async function check(response) {
  if (response.ok) return response;
  let body = null;
  try { body = await response.json(); } catch { /* an answer without a body */ }
  if (response.status === 401) onUnauthorized();
  throw new ApiError(response.status, body, response.headers.get('X-Request-ID'));
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers), cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, { error: { code: 'unreachable', message: 'The server cannot be reached.', retryable: true } });
  }
  return check(response);
}

const encode = encodeURIComponent;
export const brandPath = (brand, rest) => `/v1/brands/${encode(brand)}${rest}`;

export async function call(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { 'Content-Type': 'application/json' };
  }
  const response = await ask(path, options);
  return response.status === 204 ? null : response.json();
}

// Server-sent events over fetch: EventSource can send neither key nor body.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    let at;
    while ((at = rest.search(/\r?\n\r?\n/)) >= 0) {
      const block = rest.slice(0, at);
      rest = rest.slice(at).replace(/^\r?\n\r?\n/, '');
      let name = 'message';
      const data = [];
      for (const line of block.split(/\r?\n/)) {
        if (line.startsWith('event:')) name = line.slice(6).trim();
        else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      }
      if (data.length) yield { name, data: JSON.parse(data.join('\n')) };
    }
  }
}

export async function* stream(method, path, body, signal) {
  const options = { method, signal, headers: { Accept: 'text/event-stream' } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['Content-Type'] = 'application/json';
  }
  yield* events(await ask(path, options));
}

// XMLHttpRequest, because fetch tells nothing about the progress of an upload.
export function upload(path, file, onProgress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append('file', file, file.name);
    const request = new XMLHttpRequest();
    request.open('POST', path);
    for (const [name, value] of headers()) request.setRequestHeader(name, value);
    request.responseType = 'json';
    request.upload.onprogress = (e) => e.lengthComputable && onProgress(e.loaded, e.total);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) return resolve(request.response);
      if (request.status === 401) onUnauthorized();
      return reject(new ApiError(request.status, request.response, request.getResponseHeader('X-Request-ID')));
    };
    request.onerror = () => reject(new ApiError(0, { error: { message: 'The upload was interrupted.' } }));
    request.send(form);
  });
}
