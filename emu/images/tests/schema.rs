//! docs/checkpoint-schema.json says what the types say.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uinotify_images::{Checkpoint, CheckpointError};

fn schema() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/checkpoint-schema.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every field that there is.
fn full() -> Value {
    json!({
        "format": "uinotify-checkpoint", "version": 1, "written_by": "uinotify 0.1.0", "profile": "native", "cookie": 7,
        "instances": [{
            "id": 1, "owner": 1000, "socket_inode": 20891541,
            "descriptors": [{"pid": 12, "fd": 3, "close_on_exec": true}],
            "flags": "04000",
            "signal_owner": {"pid": 12, "pid_type": 1, "uid": 1000, "euid": 1000, "signal": 0},
            "cursor": 2147483648_u32,
            "limits": {"instances_max": 128, "watches_max": 8192, "queue_events_max": 16384},
            "watches": [{
                "wd": 55407062, "mask": "IN_CREATE|IN_ONESHOT", "path": "/tmp/caf%E9", "device": "254:0", "inode": 18446744073709551615_u64,
                "generation": 3, "handle": {"type": 1, "bytes": "f1409f0086e028bf"}, "mount_id": 30,
            }],
            "queue": {
                "events": [{"wd": -1, "mask": "IN_Q_OVERFLOW", "cookie": 0, "name": "", "hidden": "0x1000"}],
                "tail_is_latest": true,
            },
        }],
    })
}

fn read(value: &Value) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_json(value.to_string().as_bytes())
}

/// As much of JSON Schema as the schema uses.
fn check(schema: &Value, root: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref") {
        let target = root.pointer(reference.as_str().unwrap().trim_start_matches('#')).unwrap();
        return check(target, root, value, at);
    }
    let fail = |what: &str| Err(format!("{at}: {what}: {value}"));
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "const" if rule != value => return fail("another constant"),
            "enum" if !rule.as_array().unwrap().contains(value) => return fail("not in the list"),
            "type" => {
                let fits = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("type {other}"),
                };
                if !fits {
                    return fail("another type");
                }
            }
            "minimum" if value.as_i64().is_some_and(|number| number < rule.as_i64().unwrap()) => {
                return fail("too small");
            }
            "maximum" if value.as_u64().is_some_and(|number| number > rule.as_u64().unwrap()) => {
                return fail("too large");
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        return fail(&format!("no {name}"));
                    }
                }
            }
            "properties" => {
                assert_eq!(schema["additionalProperties"], json!(false), "{at}");
                for (name, part) in value.as_object().unwrap() {
                    let Some(rule) = rule.get(name) else { return fail(&format!("{name} is unknown")) };
                    check(rule, root, part, &format!("{at}/{name}"))?;
                }
            }
            "items" => {
                for (index, part) in value.as_array().unwrap().iter().enumerate() {
                    check(rule, root, part, &format!("{at}/{index}"))?;
                }
            }
            "const"
            | "enum"
            | "minimum"
            | "maximum"
            | "additionalProperties"
            | "description"
            | "title"
            | "$schema"
            | "$defs"
            | "pattern" => {}
            other => panic!("{other} is not checked"),
        }
    }
    Ok(())
}

/// The paths of all objects in a value.
fn objects(value: &Value, at: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            into.push(at.to_owned());
            fields.iter().for_each(|(name, part)| objects(part, &format!("{at}/{name}"), into));
        }
        Value::Array(parts) => {
            parts.iter().enumerate().for_each(|(index, part)| objects(part, &format!("{at}/{index}"), into));
        }
        _ => {}
    }
}

/// The schema of the object at a path of a value.
fn schema_at<'a>(root: &'a Value, path: &str) -> &'a Value {
    let resolve = |mut schema: &'a Value| {
        while let Some(reference) = schema.get("$ref") {
            schema = root.pointer(reference.as_str().unwrap().trim_start_matches('#')).unwrap();
        }
        schema
    };
    path.split('/').skip(1).fold(resolve(root), |schema, name| {
        resolve(if name.parse::<usize>().is_ok() { &schema["items"] } else { &schema["properties"][name] })
    })
}

#[test]
fn what_is_written_is_of_the_schema() {
    let root = schema();
    let checkpoint = read(&full()).unwrap();
    let written: Value = serde_json::from_str(&checkpoint.to_json()).unwrap();
    assert_eq!(written, full());
    check(&root, &root, &written, "").unwrap();
}

#[test]
fn fields_are_those_of_the_schema() {
    let (root, full) = (schema(), full());
    let mut paths = Vec::new();
    objects(&full, "", &mut paths);
    let mut seen = BTreeSet::new();
    for path in paths {
        let rule = schema_at(&root, &path);
        let named: BTreeSet<&String> = rule["properties"].as_object().unwrap().keys().collect();
        let there: BTreeSet<&String> = full.pointer(&path).unwrap().as_object().unwrap().keys().collect();
        assert_eq!(named, there, "{path}");
        seen.insert(std::ptr::from_ref(rule));
        // Without a field, it is read where the schema does not require it.
        for name in named {
            let mut without = full.clone();
            without.pointer_mut(&path).unwrap().as_object_mut().unwrap().remove(name);
            let required = rule["required"].as_array().unwrap().iter().any(|field| field == name);
            assert_eq!(read(&without).is_err(), required, "{path}/{name}");
            assert_eq!(check(&root, &root, &without, "").is_err(), required, "{path}/{name}");
        }
        // One that is unknown is refused.
        let mut with = full.clone();
        with.pointer_mut(&path).unwrap().as_object_mut().unwrap().insert("more".to_owned(), json!(1));
        assert!(matches!(read(&with), Err(CheckpointError::Json(_))), "{path}");
        assert!(check(&root, &root, &with, "").is_err(), "{path}");
    }
    let objects = root["$defs"].as_object().unwrap().values().filter(|part| part.get("properties").is_some());
    assert_eq!(seen.len(), objects.count() + 1, "every object of the schema is looked at");
}

/// SNAPSHOT-5
#[test]
fn other_versions_are_refused_by_name() {
    let with = |name: &str, value: Value| {
        let mut other = full();
        other[name] = value;
        read(&other).unwrap_err().to_string()
    };
    // What a later version has more is not what is complained about.
    let mut later = full();
    later["version"] = json!(2);
    later["instances"][0]["more"] = json!({});
    let message = read(&later).unwrap_err().to_string();
    assert_eq!(message, "a checkpoint of version 2, and this uinotify reads version 1");
    assert_eq!(with("version", json!(0)), "a checkpoint of version 0, and this uinotify reads version 1");
    let no_checkpoint = "no checkpoint: it has no \"format\": \"uinotify-checkpoint\"";
    assert_eq!(with("format", json!("x")), no_checkpoint);
    assert_eq!(with("format", json!(1)), no_checkpoint);
    assert_eq!(read(&json!({})).unwrap_err().to_string(), no_checkpoint);
    assert!(with("version", json!("1")).starts_with("no checkpoint: invalid type"));
    assert!(with("profile", json!("el6")).contains("el6"));
}

#[test]
fn errors_say_where() {
    let text = full().to_string().replace("\"IN_CREATE|IN_ONESHOT\"", "\"IN_CREAT\"");
    let message = Checkpoint::from_json(text.as_bytes()).unwrap_err().to_string();
    assert!(
        message.starts_with("no checkpoint: \"IN_CREAT\" is no bit of inotify") && message.contains("column"),
        "{message}"
    );
    let message = Checkpoint::from_json(b"{").unwrap_err().to_string();
    assert!(message.contains("line 1 column"), "{message}");
    // Deep nesting does not take the stack.
    let deep = "[".repeat(1_000_000);
    assert!(Checkpoint::from_json(format!("{{\"format\":{deep}").as_bytes()).is_err());
}
