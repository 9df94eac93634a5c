// Streams that packages derive theirs from, which are not used here.

import { EventEmitter } from "events";

export class Readable extends EventEmitter {}
export class Transform extends EventEmitter {}
