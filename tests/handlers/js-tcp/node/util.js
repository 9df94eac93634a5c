// What the clients of PostgreSQL and Redis take of Node's `util`.

export const deprecate = (run) => run;
export const inspect = String;
export const isDate = (value) => value instanceof Date;

export function inherits(child, parent) {
    Object.setPrototypeOf(child.prototype, parent.prototype);
}
