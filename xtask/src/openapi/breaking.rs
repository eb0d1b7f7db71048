//! `cargo xtask openapi --breaking`: whether those who speak to the last released API can speak to
//! this one.
//!
//! The rules are those of `docs/architecture.md`: changes are additive within a version, values of
//! enumerations in answers are open. What a caller may send must still be taken, what an answer
//! promises must still be there:
//!
//! | | in requests | in answers |
//! |---|---|---|
//! | operation, its name, a parameter, a body's or an answer's form | must stay | must stay |
//! | property | none becomes required; none goes | none goes; none stops being certain |
//! | type | may widen | may narrow |
//! | values of an enumeration | may be added | may be added and go |
//! | limits of lengths, numbers, patterns | may loosen | may change |
//! | login | none where there was none | |

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::checkout::Checkout;

const RELEASED: &str = "openapi/released";

/// Methods of an OpenAPI path item.
const METHODS: &[&str] = &[
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// Compares the document with the last released one; says which that was.
pub(crate) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    let Some(file) = last(checkout)? else {
        return Ok(format!("nothing is released yet ({RELEASED} is empty)"));
    };
    let read = |file: &str| -> anyhow::Result<Value> {
        let path = checkout.root().join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        serde_json::from_str(&text).with_context(|| format!("{file} is not JSON"))
    };
    let faults = compare(&read(&file)?, &read(super::DOCUMENT)?);
    if !faults.is_empty() {
        bail!(
            "{} changes break callers of {file}. Take them back, or make a new version of the \
             path; where nobody relies on it yet, release anew: cargo xtask openapi --release \
             YYYY-MM-DD\n  {}",
            faults.len(),
            faults.join("\n  ")
        );
    }
    Ok(format!("no change breaks callers of {file}"))
}

/// Keeps the present document as released on that day.
pub(super) fn release(checkout: &Checkout, day: &str) -> anyhow::Result<String> {
    let is_day = day.len() == 10
        && day.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    anyhow::ensure!(is_day, "a release is named by its day: YYYY-MM-DD");
    let file = format!("{RELEASED}/{day}.json");
    if let Some(last) = last(checkout)?
        && last > file
    {
        bail!("{last} was released after that");
    }
    fs::create_dir_all(checkout.root().join(RELEASED))?;
    fs::copy(
        checkout.root().join(super::DOCUMENT),
        checkout.root().join(&file),
    )
    .with_context(|| format!("cannot write {file}"))?;
    Ok(file)
}

/// The released document with the last day.
fn last(checkout: &Checkout) -> anyhow::Result<Option<String>> {
    let mut names = Vec::new();
    for entry in checkout
        .root()
        .join(RELEASED)
        .read_dir()
        .into_iter()
        .flatten()
    {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.len() == "2026-01-01.json".len() && name.ends_with("json") {
            names.push(format!("{RELEASED}/{name}"));
        }
    }
    Ok(names.into_iter().max())
}

/// Every change from `old` to `new` that breaks a caller.
fn compare(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison {
        old,
        new,
        faults: BTreeSet::new(),
        seen: BTreeSet::new(),
    };
    for (path, item) in object(&old["paths"]) {
        for method in METHODS {
            let before = &item[*method];
            if before.is_null() {
                continue;
            }
            let name = format!("{} {path}", method.to_uppercase());
            let now = &new["paths"][path][*method];
            if now.is_null() {
                comparison.faults.insert(format!("{name} is gone"));
            } else {
                comparison.operation(&name, before, now);
            }
        }
    }
    comparison.faults.into_iter().collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// The caller sends: what was right must stay right.
    Sent,
    /// The caller gets: what was certain must stay certain.
    Got,
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    faults: BTreeSet<String>,
    /// Pairs of named schemas that were compared, or are being: they may hold themselves.
    seen: BTreeSet<(Way, String, String)>,
}

impl<'a> Comparison<'a> {
    fn fault(&mut self, place: &str, what: impl AsRef<str>) {
        self.faults.insert(format!("{place} {}", what.as_ref()));
    }

    fn operation(&mut self, name: &str, old: &'a Value, new: &'a Value) {
        if old["operationId"] != new["operationId"] {
            self.fault(name, "has another operationId, by which clients call it");
        }
        if is_open(old, self.old) && !is_open(new, self.new) {
            self.fault(name, "asks for a login");
        }
        self.parameters(name, old, new);
        self.request(name, &old["requestBody"], &new["requestBody"]);
        self.responses(name, &old["responses"], &new["responses"]);
    }

    fn parameters(&mut self, name: &str, old: &'a Value, new: &'a Value) {
        let (before, now) = (parameters(old, self.old), parameters(new, self.new));
        for (key, parameter) in &before {
            let place = format!("{name}: {} parameter {}", key.0, key.1);
            match now.get(key) {
                None => self.fault(&place, "is gone"),
                Some(other) => {
                    if required(other) && !required(parameter) {
                        self.fault(&place, "is required");
                    }
                    self.schema(Way::Sent, &place, &parameter["schema"], &other["schema"]);
                }
            }
        }
        for (key, parameter) in &now {
            if required(parameter) && !before.contains_key(key) {
                self.fault(
                    name,
                    format!("requires a new {} parameter {}", key.0, key.1),
                );
            }
        }
    }

    fn request(&mut self, name: &str, old: &'a Value, new: &'a Value) {
        let (old, new) = (resolved(old, self.old), resolved(new, self.new));
        if required(new) && !required(old) {
            self.fault(name, "requires a body");
        }
        for (kind, content) in object(&old["content"]) {
            let place = format!("{name}: body {kind}");
            let now = &new["content"][kind];
            if now.is_null() {
                self.fault(&place, "is not taken");
            } else {
                self.schema(Way::Sent, &place, &content["schema"], &now["schema"]);
            }
        }
    }

    fn responses(&mut self, name: &str, old: &'a Value, new: &'a Value) {
        for (status, response) in object(old) {
            let place = format!("{name}: {status}");
            let response = resolved(response, self.old);
            let now = resolved(&new[status], self.new);
            if now.is_null() {
                // An error that no longer comes surprises nobody.
                if status.starts_with('2') || status.starts_with('3') {
                    self.fault(&place, "is gone");
                }
                continue;
            }
            for (header, _) in object(&response["headers"]) {
                if now["headers"][header].is_null() {
                    self.fault(&place, format!("lacks the header {header}"));
                }
            }
            for (kind, content) in object(&response["content"]) {
                let place = format!("{place} {kind}");
                let other = &now["content"][kind];
                if other.is_null() {
                    self.fault(&place, "is gone");
                } else {
                    self.schema(Way::Got, &place, &content["schema"], &other["schema"]);
                }
            }
        }
    }

    fn schema(&mut self, way: Way, place: &str, old: &'a Value, new: &'a Value) {
        let (before, now) = (variants(old, self.old), variants(new, self.new));
        if let ([before], [now]) = (before.as_slice(), now.as_slice()) {
            self.plain(way, place, before, now);
        } else {
            // Whoever must be understood finds somebody who understands.
            let (speaking, listening) = match way {
                Way::Sent => (&before, &now),
                Way::Got => (&now, &before),
            };
            for said in speaking {
                let understood = listening.iter().any(|heard| {
                    let mut trial = Comparison {
                        old: self.old,
                        new: self.new,
                        faults: BTreeSet::new(),
                        seen: self.seen.clone(),
                    };
                    let (before, now) = match way {
                        Way::Sent => (said, heard),
                        Way::Got => (heard, said),
                    };
                    trial.plain(way, place, before, now);
                    trial.faults.is_empty()
                });
                if !understood {
                    let what = match way {
                        Way::Sent => "no longer takes one of its forms",
                        Way::Got => "has a form that it had not",
                    };
                    self.fault(place, format!("{what}: {}", form(said)));
                }
            }
        }
    }

    /// Two schemas without alternatives.
    fn plain(&mut self, way: Way, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        if !old.name.is_empty() && !new.name.is_empty() {
            let pair = (way, old.name.clone(), new.name.clone());
            if !self.seen.insert(pair) {
                return;
            }
        }
        self.types(way, place, old, new);
        for (name, property) in &old.properties {
            let place = format!("{place}.{name}");
            match new.properties.get(name) {
                None => self.fault(&place, "is gone"),
                Some(other) => {
                    let (was, is) = (old.required.contains(name), new.required.contains(name));
                    match way {
                        Way::Sent if is && !was => self.fault(&place, "is required"),
                        Way::Got if was && !is => self.fault(&place, "may be missing"),
                        _ => {}
                    }
                    self.schema(way, &place, property, other);
                }
            }
        }
        if way == Way::Sent {
            for name in new.required.difference(&old.required) {
                if !old.properties.contains_key(name) {
                    self.fault(&format!("{place}.{name}"), "is new and required");
                }
            }
        }
        if let (Some(before), Some(now)) = (old.items, new.items) {
            self.schema(way, &format!("{place}[]"), before, now);
        }
        if let (Some(before), Some(now)) = (old.additional, new.additional) {
            self.schema(way, &format!("{place}{{}}"), before, now);
        }
    }

    fn types(&mut self, way: Way, place: &str, old: &Flat<'a>, new: &Flat<'a>) {
        let (wide, narrow) = match way {
            Way::Sent => (&new.types, &old.types),
            Way::Got => (&old.types, &new.types),
        };
        let fits = |kind: &String| {
            wide.is_empty() || wide.contains(kind) || (kind == "integer" && wide.contains("number"))
        };
        // No type is any type.
        if !narrow.iter().all(fits) || (narrow.is_empty() && !wide.is_empty()) {
            let list = |types: &BTreeSet<String>| {
                if types.is_empty() {
                    return "anything".to_owned();
                }
                types.iter().cloned().collect::<Vec<_>>().join(" or ")
            };
            let (was, is) = (list(&old.types), list(&new.types));
            self.fault(place, format!("was {was} and is {is}"));
        }
        if old.format != new.format && (way == Way::Got || new.format.is_some()) {
            let name = |format: Option<&str>| format.unwrap_or("none").to_owned();
            let (was, is) = (name(old.format), name(new.format));
            self.fault(place, format!("had the format {was} and has {is}"));
        }
        if way == Way::Got {
            return;
        }
        match (&old.values, &new.values) {
            (Some(before), Some(now)) => {
                for value in before.difference(now) {
                    self.fault(place, format!("no longer takes {value}"));
                }
            }
            (None, Some(_)) => self.fault(place, "takes only listed values"),
            _ => {}
        }
        for limit in [
            "maxLength",
            "maximum",
            "exclusiveMaximum",
            "maxItems",
            "maxProperties",
        ] {
            self.limit(place, limit, old, new, |was, is| is < was);
        }
        for limit in [
            "minLength",
            "minimum",
            "exclusiveMinimum",
            "minItems",
            "minProperties",
        ] {
            self.limit(place, limit, old, new, |was, is| is > was);
        }
        if let Some(pattern) = new.limits.get("pattern")
            && old.limits.get("pattern") != Some(pattern)
        {
            self.fault(place, "has another pattern");
        }
    }

    fn limit(
        &mut self,
        place: &str,
        limit: &str,
        old: &Flat<'a>,
        new: &Flat<'a>,
        tighter: fn(f64, f64) -> bool,
    ) {
        let number = |flat: &Flat<'a>| flat.limits.get(limit).and_then(|value| value.as_f64());
        match (number(old), number(new)) {
            (Some(was), Some(is)) if tighter(was, is) => {
                self.fault(place, format!("had the {limit} {was} and has {is}"));
            }
            // A text or a list of no length, a number below nothing: no limit at all.
            (None, Some(is)) if !(limit.starts_with("min") && is <= 0.0 && limit != "minimum") => {
                self.fault(place, format!("has a {limit}, {is}"));
            }
            _ => {}
        }
    }
}

/// A schema without `$ref`, `allOf` and alternatives.
#[derive(Debug, Default, Clone)]
struct Flat<'a> {
    /// The names of the schemas it was made of.
    name: String,
    types: BTreeSet<String>,
    format: Option<&'a str>,
    values: Option<BTreeSet<String>>,
    properties: BTreeMap<String, &'a Value>,
    required: BTreeSet<String>,
    items: Option<&'a Value>,
    additional: Option<&'a Value>,
    limits: BTreeMap<&'a str, &'a Value>,
}

/// A schema's alternatives, each with what is said of all of them.
fn variants<'a>(schema: &'a Value, document: &'a Value) -> Vec<Flat<'a>> {
    let name = schema["$ref"].as_str().unwrap_or_default().to_owned();
    let schema = resolved(schema, document);
    let mut found = vec![Flat {
        name,
        ..own(schema)
    }];
    for part in array(&schema["allOf"]) {
        found = product(&found, &variants(part, document));
    }
    for word in ["oneOf", "anyOf"] {
        let parts = array(&schema[word]);
        if !parts.is_empty() {
            let alternatives: Vec<_> = parts
                .iter()
                .flat_map(|part| variants(part, document))
                .collect();
            found = product(&found, &alternatives);
        }
    }
    found
}

fn product<'a>(left: &[Flat<'a>], right: &[Flat<'a>]) -> Vec<Flat<'a>> {
    left.iter()
        .flat_map(|one| right.iter().map(|other| both(one, other)))
        .collect()
}

/// What holds where both hold.
fn both<'a>(one: &Flat<'a>, other: &Flat<'a>) -> Flat<'a> {
    let mut both = one.clone();
    both.name.push_str(&other.name);
    if both.types.is_empty() {
        both.types.clone_from(&other.types);
    }
    both.format = both.format.or(other.format);
    both.values = both.values.or_else(|| other.values.clone());
    both.properties.extend(other.properties.clone());
    both.required.extend(other.required.iter().cloned());
    both.items = both.items.or(other.items);
    both.additional = both.additional.or(other.additional);
    both.limits.extend(other.limits.clone());
    both
}

/// What a schema says itself.
fn own(schema: &Value) -> Flat<'_> {
    let types = match &schema["type"] {
        Value::String(kind) => BTreeSet::from([kind.clone()]),
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(|kind| kind.as_str().map(str::to_owned))
            .collect(),
        _ => BTreeSet::new(),
    };
    let listed: Option<BTreeSet<String>> = match (&schema["enum"], &schema["const"]) {
        (Value::Array(values), _) => Some(values.iter().map(Value::to_string).collect()),
        (_, Value::Null) => None,
        (_, value) => Some(BTreeSet::from([value.to_string()])),
    };
    Flat {
        name: String::new(),
        types,
        format: schema["format"].as_str(),
        values: listed,
        properties: object(&schema["properties"])
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        required: array(&schema["required"])
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        items: schema.get("items"),
        additional: schema
            .get("additionalProperties")
            .filter(|value| value.is_object()),
        limits: object(schema)
            .filter(|(name, value)| {
                name.starts_with("max")
                    || name.starts_with("min")
                    || name.starts_with("exclusive")
                    || (*name == "pattern" && value.is_string())
            })
            .collect(),
    }
}

/// A word or two for a form, so that it is found.
fn form(flat: &Flat<'_>) -> String {
    let mut words: Vec<_> = flat.types.iter().cloned().collect();
    words.extend(flat.values.iter().flatten().cloned());
    words.extend(flat.required.iter().take(3).cloned());
    words.join(" ")
}

/// What a `$ref` into the document stands for; the value itself where it is none.
fn resolved<'a>(value: &'a Value, document: &'a Value) -> &'a Value {
    let mut value = value;
    // A chain of references is short; a ring of them is no document.
    for _ in 0..16 {
        let Some(pointer) = value["$ref"].as_str().and_then(|to| to.strip_prefix('#')) else {
            return value;
        };
        value = document.pointer(pointer).unwrap_or(&Value::Null);
    }
    value
}

/// By place and name.
fn parameters<'a>(
    operation: &'a Value,
    document: &'a Value,
) -> BTreeMap<(String, String), &'a Value> {
    array(&operation["parameters"])
        .iter()
        .map(|parameter| resolved(parameter, document))
        .map(|parameter| {
            let text = |key: &str| parameter[key].as_str().unwrap_or_default().to_owned();
            ((text("in"), text("name")), parameter)
        })
        .collect()
}

/// Whether anybody may call it.
fn is_open(operation: &Value, document: &Value) -> bool {
    let security = match &operation["security"] {
        Value::Null => &document["security"],
        own => own,
    };
    let ways = array(security);
    ways.is_empty() || ways.iter().any(|way| object(way).next().is_none())
}

fn required(value: &Value) -> bool {
    value["required"].as_bool() == Some(true)
}

fn object(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
#[path = "breaking_tests.rs"]
mod tests;
