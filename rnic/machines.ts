/** The two machines of a QP, by its type. */

import type { EngineCore, Qp, Responder, Sender } from './core.ts';
import { RcResponder } from './rc-responder.ts';
import { RcSender } from './rc-sender.ts';

export const createSender = (qp: Qp, core: EngineCore): Sender => new RcSender(qp, core);
export const createResponder = (qp: Qp, core: EngineCore): Responder => new RcResponder(qp, core);
