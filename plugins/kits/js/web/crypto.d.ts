// `crypto.subtle`: what there is of it.

type BufferSource = ArrayBuffer | ArrayBufferView;
type HashName = "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512";
type HashAlgorithm = HashName | { name: HashName };
type KeyUsage = "sign" | "verify" | "deriveBits" | "deriveKey";
type HmacParams = { name: "HMAC"; hash: HashAlgorithm; length?: number };
type HkdfParams = { name: "HKDF"; hash: HashAlgorithm; salt: BufferSource; info: BufferSource };
type Pbkdf2Params = { name: "PBKDF2"; hash: HashAlgorithm; salt: BufferSource; iterations: number };

interface JsonWebKey {
    alg?: string;
    ext?: boolean;
    k?: string;
    key_ops?: string[];
    kty?: string;
}

interface CryptoKey {
    readonly algorithm: { name: string; hash?: { name: string }; length?: number };
    readonly extractable: boolean;
    readonly type: "secret";
    readonly usages: KeyUsage[];
}
declare var CryptoKey: { prototype: CryptoKey };

interface SubtleCrypto {
    deriveBits(algorithm: HkdfParams | Pbkdf2Params, key: CryptoKey, bits: number): Promise<ArrayBuffer>;
    digest(algorithm: HashAlgorithm, data: BufferSource): Promise<ArrayBuffer>;
    exportKey(format: "jwk", key: CryptoKey): Promise<JsonWebKey>;
    exportKey(format: "raw", key: CryptoKey): Promise<ArrayBuffer>;
    generateKey(algorithm: HmacParams, extractable: boolean, usages: KeyUsage[]): Promise<CryptoKey>;
    importKey(
        format: "jwk",
        key: JsonWebKey,
        algorithm: HmacParams | "HKDF" | "PBKDF2",
        extractable: boolean,
        usages: KeyUsage[],
    ): Promise<CryptoKey>;
    importKey(
        format: "raw",
        key: BufferSource,
        algorithm: HmacParams | "HKDF" | "PBKDF2",
        extractable: boolean,
        usages: KeyUsage[],
    ): Promise<CryptoKey>;
    sign(algorithm: "HMAC" | { name: "HMAC" }, key: CryptoKey, data: BufferSource): Promise<ArrayBuffer>;
    verify(algorithm: "HMAC" | { name: "HMAC" }, key: CryptoKey, signature: BufferSource, data: BufferSource): Promise<boolean>;
}
