//! What the configuration accepts, and that its errors name the key and never the value.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn from_environment(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let sources = Sources {
        file: None,
        environment,
    };
    load(&sources).and_then(|values| Config::read(&values))
}

fn refused(pairs: &[(&str, &str)]) -> String {
    from_environment(pairs).unwrap_err().to_string()
}

fn from_file(text: &str) -> Result<Config, ConfigError> {
    let folder = std::env::temp_dir().join(format!("acolhe-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!(
        "{:x}.toml",
        text.len() * 31 + usize::from(text.as_bytes()[1])
    ));
    std::fs::write(&path, text).unwrap();
    let sources = Sources {
        file: Some(path.clone()),
        environment: Vec::new(),
    };
    let config = load(&sources).and_then(|values| Config::read(&values));
    std::fs::remove_file(path).unwrap();
    config
}

#[test]
fn every_default_is_valid() {
    let config = from_environment(&[]).unwrap();
    assert_eq!(config.http.port, 8080);
    assert_eq!(config.database.max_connections, 20);
    assert_eq!(config.database.keep, 5);
    assert_eq!(config.database.acquire_timeout, Duration::from_secs(10));
    assert_eq!(config.database.idle_timeout, Duration::from_mins(5));
    assert_eq!(config.database.answer_timeout, Duration::from_secs(15));
    assert_eq!(config.database.slow_query, Duration::from_secs(1));
    assert!(config.jobs.enabled);
}

#[test]
fn the_environment_wins_over_the_file() {
    let mut given = std::collections::BTreeMap::new();
    let mut faults = Vec::new();
    source::read_file(Path::new("a"), "[http]\nport = 1", &mut given, &mut faults);
    let environment = [("ACOLHE_HTTP_PORT".to_owned(), "2".to_owned())];
    source::read_environment(&environment, &mut given, &mut faults);
    assert_eq!(given.get("http.port").map(String::as_str), Some("2"));
    assert!(faults.is_empty());
}

#[test]
fn a_file_gives_numbers_texts_and_lists() {
    let config =
        from_file("[http]\nport = 9000\nbind = \"::1\"\n[jobs]\nenabled = false\n").unwrap();
    assert_eq!(config.http.port, 9000);
    assert!(config.http.bind.is_ipv6());
    assert!(!config.jobs.enabled);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    let text = refused(&[("ACOLHE_HTTP_PROT", "1")]);
    assert!(text.contains("ACOLHE_HTTP_PROT"), "{text}");
    assert!(text.contains("ACOLHE_HTTP_PORT"), "{text}");
    let text = from_file("[htpp]\nport = 1").unwrap_err().to_string();
    assert!(
        text.contains("htpp.port is not a key; the nearest is http.port"),
        "{text}"
    );
    // Another program's.
    assert!(
        from_environment(&[("ACOLHE_TEST_DATABASE_URL", "x"), ("ACOLHE_POSTGRES", "y")]).is_ok()
    );
}

#[test]
fn a_wrong_value_names_the_key_and_what_would_be_right_but_not_the_value() {
    let text = refused(&[
        ("ACOLHE_HTTP_PORT", "canaria"),
        ("ACOLHE_HTTP_BIND", "canaria"),
        ("ACOLHE_DATABASE_SLOW_QUERY", "canaria"),
        ("ACOLHE_TELEMETRY_SAMPLING_RATIO", "canaria"),
        ("ACOLHE_TELEMETRY_LOG_FORMAT", "canaria"),
        ("ACOLHE_HTTP_PROXY_HOPS", "9"),
    ]);
    for rule in [
        "http.port must be a whole number from 0 to 65535",
        "http.bind must be an IP address, such as 127.0.0.1 or ::1",
        "database.slow_query must be a duration such as 500ms, 10s, 15m or 1h",
        "telemetry.sampling_ratio must be a number from 0 to 1",
        "telemetry.log_format must be json or text",
        "http.proxy_hops must be a whole number from 0 to 8",
    ] {
        assert!(text.contains(rule), "{rule}: {text}");
    }
    assert!(!text.contains("canaria"), "{text}");
}

#[test]
fn a_broken_file_is_told_by_its_line_without_its_text() {
    let text = from_file("[database]\nurl = postgres://canaria\n")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("line 2") && !text.contains("canaria"),
        "{text}"
    );
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own_and_is_never_shown() {
    let path = std::env::temp_dir().join(format!("acolhe-secret-{}", std::process::id()));
    std::fs::write(&path, "postgres://canaria@localhost/acolhe\n").unwrap();
    let named = path.display().to_string();
    let config = from_environment(&[("ACOLHE_DATABASE_URL_FILE", &named)]).unwrap();
    let url = config
        .database
        .url
        .as_ref()
        .map(|url| url.expose().as_str());
    assert_eq!(url, Some("postgres://canaria@localhost/acolhe"));
    assert!(!format!("{config:?}").contains("canaria"));
    let both = refused(&[
        ("ACOLHE_DATABASE_URL_FILE", &named),
        ("ACOLHE_DATABASE_URL", "canaria"),
    ]);
    assert!(
        both.contains("give one") && !both.contains("canaria"),
        "{both}"
    );
    std::fs::remove_file(path).unwrap();
    assert!(refused(&[("ACOLHE_KEYS_MASTER_FILE", "/nonexistent")]).contains("cannot be read"));
}

#[test]
fn durations_have_a_unit() {
    assert_eq!(parse::duration("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(parse::duration("15m"), Some(Duration::from_mins(15)));
    for wrong in [
        "",
        "5",
        "s",
        "-1s",
        "1.5s",
        "1d",
        "99999999999999999999s",
        "25h",
    ] {
        assert_eq!(parse::duration(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(\\[[a-z.]{0,9}\\]\n)?([a-z_]{1,12} ?= ?[ -~]{0,20}\n){0,4}[ -~\n]{0,40}") {
        let mut given = std::collections::BTreeMap::new();
        let mut faults = Vec::new();
        source::read_file(Path::new("a.toml"), &text, &mut given, &mut faults);
    }

    #[test]
    fn no_value_makes_it_panic_or_is_repeated(at in 0..KEYS.len(), value in "[ -~]{0,24}") {
        let name = KEYS[at].variable();
        let planted = format!("Canaria{value}");
        match from_environment(&[(&name, &planted)]) {
            Err(error) => prop_assert!(!error.to_string().contains("Canaria")),
            Ok(config) => {
                let shown = format!("{config:?}");
                prop_assert!(!KEYS[at].secret || !shown.contains("Canaria"));
            }
        }
    }

    #[test]
    fn no_duration_makes_it_panic(text in "[0-9a-z. ]{0,30}") {
        let _ = parse::duration(&text);
    }
}
