/** The two machines of a QP, by its type. */
import { QpType } from './constants.ts';
import type { EngineCore, Qp, Responder, Sender } from './core.ts';
import { RcResponder } from './rc-responder.ts';
import { RcSender } from './rc-sender.ts';
import { UcResponder } from './uc-responder.ts';
import { UcSender } from './uc-sender.ts';
import { UdResponder } from './ud-responder.ts';
import { UdSender } from './ud-sender.ts';

export function createSender(qp: Qp, core: EngineCore): Sender {
  if (qp.type === QpType.RC) return new RcSender(qp, core);
  return qp.type === QpType.UC ? new UcSender(qp, core) : new UdSender(qp, core);
}

export function createResponder(qp: Qp, core: EngineCore): Responder {
  if (qp.type === QpType.RC) return new RcResponder(qp, core);
  return qp.type === QpType.UC ? new UcResponder(qp, core) : new UdResponder(qp, core);
}
