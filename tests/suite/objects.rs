//! Objects in a store that speaks S3, kept by handlers that do not hold its key.

use serde_json::{Value, json};

use crate::clients::{Guest, at, granted};
use crate::servers::ObjectStore;
use crate::support::eventually;

const ACCESS_KEY_ID: &str = "kiln";
const SECRET_ACCESS_KEY: &str = "s3cret/key+of=40";

/// What every client is to be able to do, with bodies that the signature covers and with others.
const CLIENTS: &[(&str, &str, &str)] = &[
    ("c", "kiln_http", "signed"),
    ("js", "fetch", "signed"),
    ("js", "fetch", "unsigned"),
    ("ts", "fetch", "signed"),
    ("go", "http.DefaultClient", "unsigned"),
    ("rust", "kiln_handler::http", "unsigned"),
    ("python", "requests", "signed"),
    ("python", "httpx.AsyncClient", "unsigned"),
];

#[tokio::test(flavor = "multi_thread")]
async fn handlers_keep_objects_in_a_store_whose_key_they_do_not_hold() -> anyhow::Result<()> {
    let store = ObjectStore::start(ACCESS_KEY_ID, SECRET_ACCESS_KEY).await?;
    let secrets = tempfile::tempdir()?;
    let key = secrets.path().join("STORE_KEY");
    let origin = at(store.port);
    let bucket = format!("{origin}/bucket");
    for (language, client, payload) in CLIENTS {
        let grants = format!(
            "[[grants.http]]\norigin = \"{origin}\"\nprivate = true\n[grants.secrets.STORE_KEY]\nexpose = \"sigv4\"\n\
             origin = \"{origin}\"\naccess_key_id = \"{ACCESS_KEY_ID}\"\nregion = \"eu-central-1\"\npayload = \"{payload}\""
        );
        std::fs::write(&key, "another/key")?;
        let stranger = granted(language, client, &grants, secrets.path())?;
        let refused = asked(&stranger, "PUT", &bucket, json!({})).await?;
        assert_eq!(refused["status"], 403, "the store looks at signatures: {refused}");
        std::fs::write(&key, SECRET_ACCESS_KEY)?;
        let guest = granted(language, client, &grants, secrets.path())?;
        let kept = keep_objects(&guest, &bucket).await;
        kept.map_err(|err| err.context(format!("{client}, {payload}")))?;
    }
    Ok(())
}

async fn keep_objects(guest: &Guest, bucket: &str) -> anyhow::Result<()> {
    let made = asked(guest, "PUT", bucket, json!({})).await?["status"].clone();
    assert!(
        [json!(200), json!(409)].contains(&made),
        "it is there, from now on or before: {made}"
    );
    let object = format!("{bucket}/a%20b/%C3%A4%2B%281%29~.txt");
    let body = json!({"body": "tea ", "repeat": 30_000, "headers": [["x-amz-meta-of", "a  tree"]]});
    // Its first volume may not be there yet.
    eventually("the store keeps an object", async || {
        let put = asked(guest, "PUT", &object, body.clone()).await?;
        Ok((put["status"] == 200).then_some(()))
    })
    .await?;
    let got = asked(guest, "GET", &object, json!({})).await?;
    assert_eq!(
        (&got["status"], &got["body"]),
        (&json!(200), &json!("tea ".repeat(30_000)))
    );
    let list = async |query: &str| {
        let listed = asked(guest, "GET", &format!("{bucket}?{query}"), json!({})).await?;
        assert_eq!(listed["status"], 200, "{listed}");
        anyhow::Ok(listed["body"].as_str().unwrap_or_default().to_owned())
    };
    let listed = list("prefix=a%20b/&list-type=2").await?;
    assert_eq!(between(&listed, "<Key>", "</Key>"), "a b/ä+(1)~.txt", "{listed}");

    let begun = asked(guest, "POST", &format!("{object}?uploads"), json!({})).await?;
    let begun = begun["body"].as_str().unwrap_or_default();
    let id = between(begun, "<UploadId>", "</UploadId>");
    assert!(!id.is_empty(), "{begun}");
    let part = format!("{object}?partNumber=1&uploadId={id}");
    let put = asked(guest, "PUT", &part, json!({"body": "a part"})).await?;
    let etag = crate::clients::header(&put, "etag").unwrap_or_default();
    assert!(put["status"] == 200 && !etag.is_empty(), "{put}");
    let parts = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let whole = json!({"body": parts, "headers": [["content-type", "application/xml"]]});
    let done = asked(guest, "POST", &format!("{object}?uploadId={id}"), whole).await?;
    assert_eq!(done["status"], 200, "{done}");
    assert_eq!(asked(guest, "GET", &object, json!({})).await?["body"], "a part");

    assert_eq!(asked(guest, "DELETE", &object, json!({})).await?["status"], 204);
    let left = list("list-type=2").await?;
    assert!(left.contains("<ListBucketResult") && !left.contains("<Key>"), "{left}");
    assert_eq!(asked(guest, "GET", &object, json!({})).await?["status"], 404);
    Ok(())
}

async fn asked(guest: &Guest, method: &str, url: &str, mut job: Value) -> anyhow::Result<Value> {
    job["method"] = json!(method);
    job["url"] = json!(url);
    guest.result(job).await
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or("", |(inner, _)| inner)
}
