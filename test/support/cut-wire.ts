/** A way to an etcd that a test cuts for some of what goes by it: the real server behind it, real faults on the way. */
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Teardown } from './netns.ts';

export class CutWire {
  /** For those who are to be cut off. */
  readonly url: string;
  /** Of what comes by: the paths of the requests, those that were cut off too. */
  readonly seen: string[] = [];
  /** Whether a request for this path finds nobody. */
  isCut: (path: string) => boolean = () => false;
  /** Whether what is asked for there is done, and nobody hears of it. */
  isMute: (path: string) => boolean = () => false;

  private constructor(url: string) {
    this.url = url;
  }

  static async before(t: Teardown, target: string): Promise<CutWire> {
    const server = createServer((asked, answer) => {
      const path = asked.url!;
      wire.seen.push(path);
      if (wire.isCut(path)) return asked.socket.destroy();
      const isMute = wire.isMute(path);
      const { method, headers } = asked;
      const forwarded = request(new URL(path, target), { method: method!, headers }, (response) => {
        if (isMute) return void asked.socket.destroy();
        answer.writeHead(response.statusCode!, response.headers);
        response.pipe(answer).on('close', () => response.destroy());
      });
      forwarded.on('error', () => asked.socket.destroy());
      return asked.pipe(forwarded);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const wire = new CutWire(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    t.teardown(() => {
      server.close();
      server.closeAllConnections();
    });
    return wire;
  }
}
