declare const __CERVER_VERSION__: string | undefined;

/** This package's version, put in by the build; `0.0.0-source` when run from source. */
export const VERSION: string = typeof __CERVER_VERSION__ === "string" ? __CERVER_VERSION__ : "0.0.0-source";
