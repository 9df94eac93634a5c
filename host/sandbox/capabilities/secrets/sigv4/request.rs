//! What a signature of version 4 is made of: one spelling of a request, and a key derived for a day, a region and a service.

use http::{HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, percent_decode_str, percent_encode};
use ring::hmac::{HMAC_SHA256, Key, sign};
use sha2::{Digest, Sha256};

use crate::sandbox::capabilities::secrets::encoding::{UNRESERVED, hex};

/// The service with a way of its own to spell paths.
pub(super) const S3: &str = "s3";

const UNRESERVED_IN_PATHS: &AsciiSet = &UNRESERVED.remove(b'/');

/// A key and what its signatures are valid for.
pub(super) struct SigningKey {
    /// Its name, which requests tell.
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// A request as far as its signature covers it.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    /// The headers covered.
    pub(super) names: Vec<HeaderName>,
    /// The digest of the body, or what stands for it.
    pub(super) payload: &'a str,
    /// As `x-amz-date` has it.
    pub(super) time: &'a str,
}

impl Request<'_> {
    /// The value of the header that proves who asks for what.
    pub(super) fn authorization(mut self, key: &SigningKey) -> String {
        self.names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        let date = self.time.split('T').next().unwrap_or_default();
        let scope = format!("{date}/{}/{}/aws4_request", key.region, key.service);
        let canonical = digest(&self.canonical(key.service == S3));
        let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{canonical}", self.time);
        let parts = [date, &key.region, &key.service, "aws4_request", &to_sign];
        let derive = |key: Vec<u8>, part: &&str| sign(&Key::new(HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        let signature = parts.iter().fold(format!("AWS4{}", key.secret).into_bytes(), derive);
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={}, Signature={}",
            key.id,
            self.signed_names(),
            hex(&signature),
        )
    }

    /// The one spelling of a request that both sides make the digest of.
    fn canonical(&self, of_object: bool) -> Vec<u8> {
        let path = if of_object {
            object_path(self.path)
        } else {
            plain_path(self.path)
        };
        let mut canonical = format!("{}\n{path}\n{}\n", self.method, sorted(self.query)).into_bytes();
        for name in &self.names {
            canonical.extend_from_slice(name.as_str().as_bytes());
            for (at, value) in self.headers.get_all(name).iter().enumerate() {
                canonical.push(if at == 0 { b':' } else { b',' });
                canonical.extend(trimmed(value.as_bytes()));
            }
            canonical.push(b'\n');
        }
        canonical.extend_from_slice(format!("\n{}\n{}", self.signed_names(), self.payload).as_bytes());
        canonical
    }

    fn signed_names(&self) -> String {
        let names: Vec<_> = self.names.iter().map(HeaderName::as_str).collect();
        names.join(";")
    }
}

/// The path of an object, in the one way to encode it. Nothing in it is resolved: an object may be called `a//../b`.
fn object_path(path: &str) -> String {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    percent_encode(&decoded, UNRESERVED_IN_PATHS).to_string()
}

/// A path as all other services read it: dots resolved, without empty segments, and encoded once more than it is.
fn plain_path(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    percent_encode(format!("/{}{end}", segments.join("/")).as_bytes(), UNRESERVED_IN_PATHS).to_string()
}

/// A query with its pairs sorted and in the one way to encode them.
fn sorted(query: &str) -> String {
    let encoded = |text: &str| {
        let decoded: Vec<u8> = percent_decode_str(&text.replace('+', " ")).collect();
        percent_encode(&decoded, UNRESERVED).to_string()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs.map(|(key, value)| (encoded(key), encoded(value))).collect();
    pairs.sort();
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join("&")
}

/// A header's value without the white space around it, and with one space for each run of them.
fn trimmed(value: &[u8]) -> impl Iterator<Item = u8> {
    let mut value = value.trim_ascii().to_vec();
    value.dedup_by(|a, b| *a == b' ' && *b == b' ');
    value.into_iter()
}

/// SHA-256 in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const DATE: &str = "x-amz-date";
    const CONTENT_SHA256: &str = "x-amz-content-sha256";

    /// The keys in the documentation of S3 and of AWS differ in one character.
    fn key(character: char, service: &str) -> SigningKey {
        SigningKey {
            id: "AKIDEXAMPLE".to_owned(),
            secret: format!("wJalrXUtnFEMI/K7MDENG{character}bPxRfiCYEXAMPLEKEY"),
            region: "us-east-1".to_owned(),
            service: service.to_owned(),
        }
    }

    /// The proof of a request, all of whose headers are signed; the time stands there, and the digest of a body if there is one.
    fn authorization([method, path, query]: [&str; 3], headers: &HeaderMap, key: &SigningKey) -> String {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap());
        let empty = digest(b"");
        let request = Request {
            method,
            path,
            query,
            headers,
            names: headers.keys().cloned().collect(),
            payload: text(CONTENT_SHA256).unwrap_or(&empty),
            time: text(DATE).unwrap(),
        };
        request.authorization(key)
    }

    /// The examples of S3's documentation: what is asked for, with which further headers, and the signature.
    #[test]
    fn objects_are_signed_as_the_documentation_of_s3_shows() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (method, path, query, more, payload, signature) in [
            (
                "GET",
                "/test.txt",
                "",
                ("range", "bytes=0-9"),
                empty,
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT",
                "/test$file.text",
                "",
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                &digest(b"Welcome to Amazon S3."),
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                "GET",
                "/",
                "lifecycle",
                ("", ""),
                empty,
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                "GET",
                "/",
                "prefix=J&max-keys=2",
                ("", ""),
                empty,
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("examplebucket.s3.amazonaws.com"));
            headers.insert(DATE, HeaderValue::from_static("20130524T000000Z"));
            headers.insert(CONTENT_SHA256, HeaderValue::try_from(payload).unwrap());
            if !more.0.is_empty() {
                headers.insert(more.0, HeaderValue::from_static(more.1));
            }
            if method == "PUT" {
                headers.insert("x-amz-storage-class", HeaderValue::from_static("REDUCED_REDUNDANCY"));
            }
            let authorization = authorization([method, path, query], &headers, &key('/', "s3"));
            assert!(
                authorization.ends_with(&format!("Signature={signature}")),
                "{path}: {authorization}"
            );
        }
    }

    /// What the test suite of the protocol's makers says of some requests of a service that is no object store.
    #[test]
    fn other_services_are_signed_as_the_suite_of_aws_says() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfK\
                     D8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx\
                     6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJ\
                     abIQwj2ICCR/oLxBA==";
        for (method, path, query, header, signature) in VECTORS {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("example.amazonaws.com"));
            headers.insert(DATE, HeaderValue::from_static("20150830T123600Z"));
            if let Some((name, value)) = header.split_once(':') {
                for value in value.replace("TOKEN", token).split('|') {
                    let name = HeaderName::try_from(name).unwrap();
                    headers.append(name, HeaderValue::try_from(value).unwrap());
                }
            }
            let authorization = authorization([method, path, query], &headers, &key('+', "service"));
            assert!(
                authorization.ends_with(signature),
                "{path}?{query} {header}: {authorization}"
            );
        }
    }

    const VECTORS: &[(&str, &str, &str, &str, &str)] = &[
        (
            "GET",
            "/",
            "",
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "GET",
            "/ሴ",
            "",
            "",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            "GET",
            "/example space/",
            "",
            "",
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        ),
        (
            "GET",
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "",
            "",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        (
            "GET",
            "/example1/example2/../..",
            "",
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "GET",
            "/./example",
            "",
            "",
            "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
        ),
        (
            "GET",
            "//example//",
            "",
            "",
            "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
        ),
        (
            "GET",
            "/",
            "Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            "",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        (
            "GET",
            "/",
            "Param2=value2&Param1=value1",
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/",
            "ሴ=bar",
            "",
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
        ),
        (
            "GET",
            "/",
            "",
            "my-header1:value4|value1|value3|value2",
            "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
        ),
        (
            "POST",
            "/",
            "",
            "x-amz-security-token:TOKEN",
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        ),
        (
            "POST",
            "/",
            "Param1=value1",
            "",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
    ];
}
