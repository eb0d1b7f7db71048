// What is generated into src/: types, one function for each operation, and a client on fetch.
// Run by `cargo xtask openapi --client`.
/** @type {import('@hey-api/openapi-ts').UserConfig} */
export default {
  input: '../acolhe.json',
  output: {
    path: 'src',
    clean: true,
    // Node wants extensions, bundlers bear them.
    tsConfigPath: null,
    importFileExtension: '.js',
  },
  logs: { level: 'warn', file: false },
  plugins: [
    { name: '@hey-api/typescript', enums: false },
    { name: '@hey-api/sdk' },
    { name: '@hey-api/client-fetch' },
  ],
};
