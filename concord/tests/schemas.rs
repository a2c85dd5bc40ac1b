//! `concord schemas` as a script uses it: on files, folders and git revisions.

use serde_json::Value as Json;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The project's own schemas, in a git repository of its own.
struct Clone {
    folder: tempfile::TempDir,
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Clone {
    fn new() -> Clone {
        let clone = Clone { folder: tempfile::tempdir().unwrap() };
        for folder in ["schemas", "schemas/state"] {
            std::fs::create_dir(clone.path(folder)).unwrap();
            for entry in std::fs::read_dir(project().join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "avsc") {
                    std::fs::copy(&path, clone.path(folder).join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        clone.git(&["init", "-q"]);
        clone.commit();
        clone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, args: &[&str]) {
        let done = Command::new("git")
            .current_dir(self.folder.path())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(args)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn commit(&self) {
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", "schemas"]);
    }

    /// Changes the fields of a schema.
    fn edit(&self, file: &str, edit: impl FnOnce(&mut Vec<Json>)) {
        let path = self.path(file);
        let mut schema: Json = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        edit(schema["fields"].as_array_mut().unwrap());
        std::fs::write(path, schema.to_string()).unwrap();
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_concord"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(self.folder.path());
        let Output { status, stdout, stderr } = command.arg("schemas").args(args).output().unwrap();
        (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }
}

fn named<'a>(fields: &'a mut [Json], name: &str) -> &'a mut Json {
    fields.iter_mut().find(|field| field["name"] == name).unwrap()
}

#[test]
fn a_field_removed_retyped_or_added_without_a_default_is_refused_with_its_reason() {
    let clone = Clone::new();
    let check = |level: &str| clone.run(&["check", "schemas", "--against", "HEAD", "--level", level]);
    let (code, out, err) = check("FULL_TRANSITIVE");
    assert!(code == 0 && !out.contains("BROKEN"), "{out} {err}");

    // Removed: older readers miss it; newer ones do not.
    clone.edit("schemas/CustomerLink.avsc", |fields| fields.retain(|field| field["name"] != "customer"));
    assert_eq!(check("BACKWARD").0, 0);
    let (code, out, _) = check("FULL");
    assert_eq!(code, 1, "{out}");
    let told = "BROKEN  CustomerLink: FULL does not hold; of all levels: BACKWARD, BACKWARD_TRANSITIVE\n  HEAD: it cannot read what is written now\n    \
                customer: the reader wants this field, the writer has none, and it has no default\n";
    assert!(out.contains(told), "{out}");

    // Retyped: neither reads the other.
    clone.git(&["checkout", "-q", "."]);
    clone.edit("schemas/CustomerLink.avsc", |fields| named(fields, "incarnation")["type"] = "string".into());
    clone.edit("schemas/CustomerLink.avsc", |fields| named(fields, "incarnation")["default"] = "".into());
    let (code, out, _) = check("BACKWARD");
    assert_eq!(code, 1, "{out}");
    for reason in [
        "of all levels: none",
        "incarnation: the writer's long cannot be read as string",
        "incarnation: the writer's string cannot be read as long",
    ] {
        assert!(out.contains(reason), "{reason} is not in {out}");
    }

    // Added without a default, deep inside a store's record.
    clone.git(&["checkout", "-q", "."]);
    clone.edit("schemas/state/Walks.avsc", |fields| fields.push(serde_json::json!({"name": "count", "type": "int"})));
    let (code, out, _) = clone.run(&["check", "schemas", "--against", "HEAD", "--json"]);
    let told: Json = serde_json::from_str(&out).unwrap();
    let walks = told["schemas"].as_array().unwrap().iter().find(|it| it["name"] == "state/Walks").unwrap();
    assert_eq!((code, &told["compatible"], &walks["compatible"], &walks["level"]), (1, &false.into(), &false.into(), &"BACKWARD".into()));
    assert_eq!(walks["levels"]["FORWARD"], true);
    let fault = &walks["versions"][0]["backward"][0];
    assert_eq!(
        (&fault["path"], &fault["kind"], &fault["pointer"]),
        (&"count".into(), &"READER_FIELD_MISSING_DEFAULT_VALUE".into(), &"/fields/3".into())
    );

    // Gone altogether; and one more, which is no fault.
    clone.git(&["checkout", "-q", "."]);
    std::fs::rename(clone.path("schemas/Request.avsc"), clone.path("gone.avsc")).unwrap();
    std::fs::write(clone.path("schemas/More.avsc"), r#"{"type":"record","name":"More","namespace":"t","fields":[]}"#).unwrap();
    let (code, out, _) = check("NONE");
    assert!(code == 1 && out.contains("BROKEN  Request: it is gone") && out.contains("ok      More: new"), "{out}");
}

#[test]
fn what_cannot_be_judged_is_another_exit_code() {
    let clone = Clone::new();
    for (args, says) in [
        (["check", "schemas", "--against", "nosuch"].as_slice(), "no git revision here"),
        (&["check", "schemas", "--against", "http://127.0.0.1:1"], "no schema registry answers at http://127.0.0.1:1"),
        (&["check", "nosuch", "--against", "HEAD"], "nosuch"),
        (&["check", "schemas", "--against", "HEAD", "--level", "SIDEWARD"], "BACKWARD_TRANSITIVE"),
        (&["check", "schemas"], "--against"),
        (&["diff", "HEAD", "schemas"], "HEAD:schemas"),
        (&["lint", "nosuch"], "nosuch"),
        (&["list", "--registry", "http://127.0.0.1:1"], "no schema registry answers"),
        (&["register", "--registry", "http://user:secret@127.0.0.1:1"], "SCHEMA_REGISTRY_BASIC_AUTH"),
    ] {
        let (code, out, err) = clone.run(args);
        assert!(code == 2 && out.is_empty() && err.contains(says) && !err.contains("secret@"), "{args:?}: {code} {out} {err}");
    }
    std::fs::write(clone.path("schemas/Bad.avsc"), r#"{"type":"nonsense"}"#).unwrap();
    let (code, _, err) = clone.run(&["lint", "schemas"]);
    assert!(code == 2 && err.contains("Bad.avsc") && err.contains("nonsense"), "{err}");
}

#[test]
fn a_diff_names_each_field_and_the_levels_that_still_hold() {
    let clone = Clone::new();
    assert_eq!(clone.run(&["diff", "HEAD:schemas", "schemas"]), (0, String::new(), String::new()));
    clone.edit("schemas/CustomerLink.avsc", |fields| {
        fields.retain(|field| field["name"] != "customer");
        fields.push(serde_json::json!({"name": "since", "type": ["null", "long"], "default": null}));
    });
    let (code, out, err) = clone.run(&["diff", "HEAD:schemas", "schemas"]);
    let told = "CustomerLink:\n  - customer: string (uuid)\n  + since: null | long, default null\n  holds: BACKWARD\n";
    assert_eq!((code, out.as_str(), err.as_str()), (1, told, ""));
    let (code, out, _) = clone.run(&["diff", "HEAD:schemas/CustomerLink.avsc", "schemas/CustomerLink.avsc", "--json"]);
    let told: Json = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["schemas"][0]["fields"][0]["change"]), (1, &"removed".into()));
}

#[test]
fn releases_are_a_history_and_what_they_wrote_is_read() {
    let clone = Clone::new();
    for (release, field) in
        [("0.2.0", r#"{"name":"a","type":"int"}"#), ("0.10.0", r#"{"name":"a","type":"long"},{"name":"b","type":"int","default":0}"#)]
    {
        let folder = clone.path("released").join(release);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("R.avsc"), format!(r#"{{"type":"record","name":"R","namespace":"t","fields":[{field}]}}"#)).unwrap();
    }
    let write = |fields: &str| {
        std::fs::write(clone.path("R.avsc"), format!(r#"{{"type":"record","name":"R","namespace":"t","fields":[{fields}]}}"#)).unwrap()
    };
    let evolve = |level: &str| clone.run(&["evolve-test", "R.avsc", "--against", "released", "--values", "50", "--level", level]);

    write(r#"{"name":"a","type":"long"},{"name":"b","type":"int"}"#);
    let check = |level: &str| clone.run(&["check", "R.avsc", "--against", "released", "--level", level]).0;
    assert_eq!((check("BACKWARD"), check("BACKWARD_TRANSITIVE"), check("FULL"), check("FULL_TRANSITIVE")), (0, 1, 0, 1));
    let (code, out, _) = evolve("BACKWARD_TRANSITIVE");
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("FAILED  R: value 0 of 0.2.0 is not read by the present one: b: ") && out.contains("ok      R: 50 values of 0.10.0"),
        "{out}"
    );

    write(r#"{"name":"a","type":"long"},{"name":"b","type":"int","default":0},{"name":"c","type":["null","R"],"default":null}"#);
    let (code, out, _) = evolve("BACKWARD_TRANSITIVE");
    assert!(code == 0 && out.lines().count() == 2, "{out}");
    let (code, out, _) = evolve("FULL");
    assert!(code == 0 && out.contains("50 values of the present one, read by 0.10.0") && out.lines().count() == 3, "{out}");
    // The first release has no long.
    let (code, out, _) = evolve("FULL_TRANSITIVE");
    assert!(code == 1 && out.contains("is not read by 0.2.0: a: the writer's long cannot be read as int"), "{out}");
}

/// What `./test.sh` asks of every change.
#[test]
fn the_schemas_of_this_build_follow_those_that_were_released() {
    let root = project();
    let at = |path: &str| root.join(path).display().to_string();
    let clone = Clone::new();
    let (schemas, released) = (at("schemas"), at("tests/released-schemas"));
    let (code, out, err) = clone.run(&["check", &schemas, "--against", &released, "--level", "FULL_TRANSITIVE"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = clone.run(&["evolve-test", &schemas, "--against", &released, "--level", "FULL_TRANSITIVE"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = clone.run(&["lint", &schemas]);
    assert!(code == 0 && out.lines().all(|line| line.ends_with("[enum-default, advice]")), "{out}{err}");
    assert_eq!(clone.run(&["lint", &schemas, "--strict"]).0, 1);
}
