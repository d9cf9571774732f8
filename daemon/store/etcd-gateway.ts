/** Requests to etcd v3 by its JSON gateway: one of several members, the next one when that does not answer. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';

/** How long etcd may take to answer: an fsync, an election. */
const REQUEST_MILLIS = 5000;
/** Of one answer: etcd sends no key larger than 1.5 MiB, and a tenant has some thousands. */
const ANSWER_BYTES_MAX = 256 << 20;
/** gRPC: the member has no leader, or cannot reach one in time. Another member may. */
const DEADLINE_EXCEEDED = 4;
const UNAVAILABLE = 14;

export interface EtcdHeader {
  readonly cluster_id?: string;
  readonly revision?: string;
}

/** PEM texts: whose signature on etcd's certificate counts (the system's authorities by default), and who we are. */
export interface EtcdTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface EtcdAccess {
  readonly credentials?: { readonly name: string; readonly password: string };
  readonly tls?: EtcdTls;
}

/** etcd answered, and refused. */
export class EtcdRefusal extends Error {}

export class EtcdGateway {
  readonly #urls: readonly string[];
  readonly #credentials: EtcdAccess['credentials'];
  readonly #http = new HttpAgent({ keepAlive: true });
  readonly #https: HttpsAgent;
  #at = 0;
  #token: string | undefined;

  constructor(urls: readonly string[], { credentials, tls = {} }: EtcdAccess = {}) {
    this.#urls = urls.map((url) => url.replace(/\/+$/, ''));
    this.#credentials = credentials;
    this.#https = new HttpsAgent({ keepAlive: true, ...tls });
  }

  /** @throws EtcdRefusal; Error: no member answers in time. */
  async ask<T>(path: string, body: object, signal?: AbortSignal): Promise<T> {
    const timeout = AbortSignal.timeout(REQUEST_MILLIS);
    const at = this.#at;
    const response = await this.post(path, body, signal ? AbortSignal.any([signal, timeout]) : timeout);
    try {
      return JSON.parse(await textOf(response)) as T;
    } catch (error) {
      throw this.#unreachable(at, (error as Error).message);
    }
  }

  /** The response as it comes: for streams. */
  async post(path: string, body: object, signal: AbortSignal): Promise<IncomingMessage> {
    const at = this.#at;
    const response = await this.#send(path, body, signal);
    if (response.statusCode === 200) return response;
    const { error, message, code } = await refusalIn(response);
    const reason = message ?? error ?? `HTTP ${response.statusCode}`;
    if (code === UNAVAILABLE || code === DEADLINE_EXCEEDED) throw this.#unreachable(at, reason);
    if (this.#credentials && this.#token !== undefined && /auth token/.test(reason)) {
      this.#token = undefined;
      return this.post(path, body, signal);
    }
    throw new EtcdRefusal(`etcd at ${this.#urls[at]} refuses: ${reason}`);
  }

  /** No connection is kept. */
  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  async #send(path: string, body: object, signal: AbortSignal): Promise<IncomingMessage> {
    if (this.#credentials && this.#token === undefined && path !== '/v3/auth/authenticate') await this.#logIn(signal);
    const at = this.#at;
    try {
      return await this.#request(new URL(`${this.#urls[at]}${path}`), JSON.stringify(body), signal);
    } catch (error) {
      const { cause, message } = error as Error & { cause?: Error };
      throw this.#unreachable(at, cause?.message || message);
    }
  }

  #request(url: URL, body: string, signal: AbortSignal): Promise<IncomingMessage> {
    const isSecure = url.protocol === 'https:';
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...(this.#token !== undefined && { authorization: this.#token }),
    };
    const options = { method: 'POST', headers, signal, agent: isSecure ? this.#https : this.#http };
    return new Promise((resolve, reject) => {
      const request = (isSecure ? httpsRequest : httpRequest)(url, options, resolve);
      request.on('error', reject);
      request.end(body);
    });
  }

  async #logIn(signal: AbortSignal): Promise<void> {
    const { token } = await this.ask<{ token: string }>('/v3/auth/authenticate', this.#credentials!, signal);
    this.#token = token;
  }

  /** The next request goes to the next member, unless that is so already. */
  #unreachable(at: number, reason: string): Error {
    if (this.#at === at) this.#at = (at + 1) % this.#urls.length;
    return new Error(`etcd at ${this.#urls[at]} does not answer: ${reason}`);
  }
}

async function textOf(response: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let octets = 0;
  for await (const chunk of response) {
    octets += chunk.length;
    if (octets > ANSWER_BYTES_MAX) throw new Error('its answer has no end');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

async function refusalIn(response: IncomingMessage): Promise<{ error?: string; message?: string; code?: number }> {
  try {
    return JSON.parse(await textOf(response)) as object;
  } catch {
    return {};
  }
}
