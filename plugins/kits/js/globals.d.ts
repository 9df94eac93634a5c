// What a component has beside the language itself: QuickJS, and what `globals.js` adds to it. There are no types of
// Node.js or of browsers, so that the compiler refuses what a handler would not find.
/// <reference path="./web/globals.d.ts" />
/// <reference path="./web/streams.d.ts" />
/// <reference path="./web/crypto.d.ts" />
/// <reference path="./node/modules.d.ts" />

declare var console: Record<"log" | "info" | "debug" | "warn" | "error", (...parts: unknown[]) => void>;
declare var crypto: {
    getRandomValues<T extends ArrayBufferView>(array: T): T;
    randomUUID(): string;
    readonly subtle: SubtleCrypto;
};
declare var performance: { now(): number };
declare var self: typeof globalThis;
/** Within functions: while the component is built, there is no environment. */
declare var process: { readonly env: Readonly<Record<string, string | undefined>> };

declare function setTimeout(run: (...args: any[]) => void, ms?: number, ...args: any[]): number;
declare function setImmediate(run: (...args: any[]) => void, ...args: any[]): number;
declare function setInterval(run: (...args: any[]) => void, ms?: number, ...args: any[]): number;
declare function clearTimeout(timer: number | undefined): void;
declare function clearImmediate(timer: number | undefined): void;
declare function clearInterval(timer: number | undefined): void;
declare function queueMicrotask(task: () => void): void;

// TypeScript counts Intl among the language, and has no library without it.
declare namespace Intl {
    interface QuickJSHasNoIntl {}
    interface CollatorConstructor {
        new (...args: any[]): QuickJSHasNoIntl;
    }
    interface DateTimeFormatConstructor {
        new (...args: any[]): QuickJSHasNoIntl;
    }
    interface NumberFormatConstructor {
        new (...args: any[]): QuickJSHasNoIntl;
    }
}
