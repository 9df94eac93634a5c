//! What the manifest's `[config]` says.

use kiln_handler::Failure;

const MAX_ROWS_DEFAULT: usize = 1_000;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) statement: String,
    /// Names of the payload's members.
    pub(crate) parameters: Vec<String>,
    pub(crate) max_rows: usize,
    pub(crate) tls: bool,
}

impl Settings {
    pub(crate) fn read(config: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let wrong = |key: &str, why: &str| Failure::permanent(format!("config: {key} {why}"));
        let required = |key: &str| config(key).ok_or_else(|| wrong(key, "is missing"));
        let address = required("address")?;
        let split = address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = split.ok_or_else(|| wrong("address", "is no HOST:PORT"))?;
        let max_rows = config("max_rows").map_or(Ok(MAX_ROWS_DEFAULT), |rows| rows.parse());
        let tls = match config("tls").as_deref() {
            None | Some("verify") => true,
            Some("off") => false,
            Some(_) => return Err(wrong("tls", "is neither verify nor off")),
        };
        let parameters = config("parameters").unwrap_or_default();
        Ok(Self {
            host: host.to_owned(),
            port,
            user: required("user")?,
            database: required("database")?,
            statement: required("statement")?.trim().trim_end_matches(';').to_owned(),
            parameters: parameters.split_whitespace().map(str::to_owned).collect(),
            max_rows: max_rows.map_err(|_| wrong("max_rows", "is no number"))?,
            tls,
        })
    }

    /// The statement with each of its rows as JSON, and one row more than there may be at most, which tells that there are
    /// more. The line break ends a comment.
    pub(crate) fn as_json(&self) -> String {
        let (statement, most) = (&self.statement, self.max_rows.saturating_add(1));
        format!("WITH kiln_rows AS (\n{statement}\n) SELECT row_to_json(kiln_rows)::text FROM kiln_rows LIMIT {most}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn read(changed: &str, value: Option<&str>) -> Result<Settings, String> {
        let given = |key: &str| {
            let usual = match key {
                "address" => "db.internal:5432",
                "user" => "reports",
                "database" => "shop",
                "statement" => "SELECT $1::int;\n",
                "parameters" => "since  customer",
                _ => return None,
            };
            Some(usual)
        };
        Settings::read(|key| if key == changed { value } else { given(key) }.map(str::to_owned))
            .map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn settings_have_defaults_where_those_are_safe() {
        let settings = read("", None).unwrap();
        assert_eq!((settings.host.as_str(), settings.port), ("db.internal", 5432));
        assert_eq!((settings.tls, settings.max_rows), (true, MAX_ROWS_DEFAULT));
        assert_eq!(settings.parameters, ["since", "customer"]);
        assert_eq!(settings.statement, "SELECT $1::int");
    }

    #[test]
    fn a_setting_that_cannot_be_meant_is_named() {
        for (key, value) in [
            ("address", Some("db.internal")),
            ("user", None),
            ("database", None),
            ("statement", None),
            ("max_rows", Some("many")),
            ("tls", Some("maybe")),
        ] {
            let failure = read(key, value).unwrap_err();
            assert!(failure.contains(&format!("config: {key} ")), "{failure}");
        }
    }
}
