/** Requests to etcd v3 by its JSON gateway: one of several members, the next one when that does not answer. */

/** How long etcd may take to answer: an fsync, an election. */
const REQUEST_MILLIS = 5000;

export interface EtcdHeader {
  readonly cluster_id?: string;
  readonly revision?: string;
}

/** etcd answered, and refused. */
export class EtcdRefusal extends Error {}

export class EtcdGateway {
  readonly #urls: readonly string[];
  readonly #credentials: { name: string; password: string } | undefined;
  #at = 0;
  #token: string | undefined;

  constructor(urls: readonly string[], credentials?: { name: string; password: string }) {
    this.#urls = urls.map((url) => url.replace(/\/+$/, ''));
    this.#credentials = credentials;
  }

  /** @throws EtcdRefusal; Error: no member answers in time. */
  async ask<T>(path: string, body: object, signal?: AbortSignal): Promise<T> {
    const timeout = AbortSignal.timeout(REQUEST_MILLIS);
    const response = await this.post(path, body, signal ? AbortSignal.any([signal, timeout]) : timeout);
    try {
      return (await response.json()) as T;
    } catch (error) {
      throw this.#unreachable(error as Error);
    }
  }

  /** The response as it comes: for streams. */
  async post(path: string, body: object, signal: AbortSignal): Promise<Response> {
    const response = await this.#send(path, body, signal);
    if (response.ok) return response;
    const { error, message } = (await response.json().catch(() => ({}))) as { error?: string; message?: string };
    const reason = message ?? error ?? `HTTP ${response.status}`;
    if (this.#credentials && this.#token !== undefined && /auth token/.test(reason)) {
      this.#token = undefined;
      return this.post(path, body, signal);
    }
    throw new EtcdRefusal(`etcd at ${this.#url} refuses: ${reason}`);
  }

  get #url(): string {
    return this.#urls[this.#at]!;
  }

  async #send(path: string, body: object, signal: AbortSignal): Promise<Response> {
    if (this.#credentials && this.#token === undefined && path !== '/v3/auth/authenticate') await this.#logIn(signal);
    const headers = this.#token === undefined ? {} : { authorization: this.#token };
    try {
      return await fetch(`${this.#url}${path}`, { method: 'POST', body: JSON.stringify(body), signal, headers });
    } catch (error) {
      throw this.#unreachable(error as Error);
    }
  }

  async #logIn(signal: AbortSignal): Promise<void> {
    const { token } = await this.ask<{ token: string }>('/v3/auth/authenticate', this.#credentials!, signal);
    this.#token = token;
  }

  /** The next request goes to the next member. */
  #unreachable(error: Error): Error {
    const { cause } = error as { cause?: Error };
    const url = this.#url;
    this.#at = (this.#at + 1) % this.#urls.length;
    return new Error(`etcd at ${url} does not answer: ${cause?.message || error.message}`);
  }
}
