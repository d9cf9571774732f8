/** A watch of etcd as it streams: one JSON text for each line, for as long as etcd is heard of. */
import type { EtcdGateway, EtcdHeader } from './etcd-gateway.ts';

export interface WatchResponse {
  readonly header?: EtcdHeader;
  readonly canceled?: boolean;
  readonly compact_revision?: string;
  readonly events?: readonly {
    readonly type?: 'PUT' | 'DELETE';
    readonly kv: { readonly key: string; readonly value?: string; readonly mod_revision: string };
  }[];
}

/** A stream says nothing while nothing changes: whether etcd is still there is asked beside it. */
const PING_MILLIS = 2000;
/** A stream that was silent for so long is opened anew, before anything between us and etcd gives it up. */
const SILENT_MILLIS = 200_000;
const LINE_BYTES_MAX = 64 << 20;

/** Ends when the signal aborts, and when nothing was heard for long. @throws Error: the connection, or etcd, is gone. */
export async function* readEvents(
  gateway: EtcdGateway,
  request: object,
  signal: AbortSignal,
): AsyncIterable<WatchResponse> {
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  signal.addEventListener('abort', stop);
  let isSilent = false;
  let lost: Error | undefined;
  const silence = setTimeout(() => {
    isSilent = true;
    stop();
  }, SILENT_MILLIS).unref();
  const pings = setInterval(() => {
    gateway.ask('/v3/maintenance/status', {}, abort.signal).catch((error: Error) => {
      lost ??= error;
      stop();
    });
  }, PING_MILLIS).unref();
  try {
    const response = await gateway.post('/v3/watch', request, abort.signal);
    for await (const line of linesOf(response)) {
      silence.refresh();
      const { result, error } = JSON.parse(line) as { result?: WatchResponse; error?: { message?: string } };
      if (!result) throw new Error(`etcd ends the watch: ${error?.message}`);
      yield result;
    }
    throw new Error('etcd has closed the watch');
  } catch (error) {
    if (signal.aborted || isSilent) return;
    throw lost ?? error;
  } finally {
    signal.removeEventListener('abort', stop);
    clearTimeout(silence);
    clearInterval(pings);
    stop();
  }
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncIterable<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    const lines = text.split('\n');
    text = lines.pop()!;
    if (text.length > LINE_BYTES_MAX) throw new Error('etcd sends a line without an end');
    yield* lines.filter((line) => line !== '');
  }
}
