//! `--secret`: values of files and variables, by id.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use launchway_engine::Secrets;

use super::Result;
use crate::csv;
use crate::failure::Failure;
use crate::settings::{Settings, read};

const HELP: &str = "write it as id=ID,src=FILE or id=ID,env=VARIABLE";

pub(super) fn read_all(given: &[String], settings: &Settings) -> Result<Secrets> {
    let mut secrets = Secrets::new();
    for text in given {
        let wrong = |why: String| Failure::usage(format!("--secret {text}: {why}"), HELP);
        let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
        for (name, value) in csv::pairs(text).map_err(wrong)? {
            match name.as_str() {
                "id" => id = Some(value),
                "src" | "source" => file = Some(value),
                "env" => variable = Some(value),
                "type" if value == "file" || value == "env" => kind = Some(value),
                "type" => return Err(wrong(format!("the type {value} is not known"))),
                other => return Err(wrong(format!("unknown name `{other}`"))),
            }
        }
        let id = id.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| wrong("there is no id".to_owned()))?;
        if kind.as_deref() == Some("env") && variable.is_none() {
            variable = file.take();
        }
        // With nothing said it is the variable of this name, or else the file.
        if variable.is_none() && file.is_none() {
            if settings.variable(&id).is_some() {
                variable = Some(id.clone());
            } else if Path::new(&id).is_file() {
                file = Some(id.clone());
            }
        }
        let value = match (variable, file) {
            (Some(name), file) => match (settings.variable(&name), file) {
                (Some(value), _) => value.as_bytes().to_vec(),
                (None, Some(file)) => read(Path::new(&file))?,
                // As with buildx; that it was meant is not likely.
                (None, None) => {
                    eprintln!(
                        "warning: the secret `{id}` is empty: the variable {name} is not set"
                    );
                    Vec::new()
                }
            },
            (None, Some(file)) => read(Path::new(&file))?,
            (None, None) => {
                return Err(Failure::usage(
                    format!("the secret `{id}` has no value"),
                    "give src=FILE or env=VARIABLE",
                ));
            }
        };
        secrets.insert(id, value);
    }
    Ok(secrets)
}
