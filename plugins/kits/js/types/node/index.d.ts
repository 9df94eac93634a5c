// In the place of the types of Node.js, where a package asks for them (`/// <reference types="node" />`): what Node.js
// has and a component lacks would pass the compiler. Tests have the real ones (`tsconfig.test.json`).
export {};
