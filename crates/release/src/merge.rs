//! The configuration of a graft: the base's, and what each feature adds to it.
//!
//! Environment, labels, ports and volumes add up. Entrypoint, command, user, working directory and
//! the rest that an image has one of must agree, or be set by the variant.

use std::collections::BTreeMap;
use std::fmt::Debug;

use launchway_manifest::Overrides;
use launchway_oci::spec::{ContainerConfig, ImageConfig};

/// Two features want different things, and the variant does not say which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("features `{first}` and `{second}` set {what} to different values")]
pub struct Disagreement {
    pub what: String,
    pub first: String,
    pub second: String,
}

/// One feature's image configuration and its name, for messages.
pub(crate) struct Part<'a> {
    pub(crate) name: &'a str,
    pub(crate) config: &'a ImageConfig,
}

/// Merges; the layers and diff ids are those of the base, then of each part without the base's.
pub(crate) fn merge(
    base: &ImageConfig,
    parts: &[Part<'_>],
    overrides: &Overrides,
    labels: &BTreeMap<String, String>,
) -> Result<ImageConfig, Disagreement> {
    let mut merged = base.clone();
    for part in parts {
        let own = part
            .config
            .rootfs
            .diff_ids
            .iter()
            .skip(base.rootfs.diff_ids.len());
        merged.rootfs.diff_ids.extend(own.cloned());
        merged
            .history
            .extend(part.config.history.iter().skip(base.history.len()).cloned());
    }
    let config = |part: &Part<'_>| part.config.config.clone();
    let of = |field: &dyn Fn(&ContainerConfig) -> Option<Vec<String>>, what: &str| {
        single(
            &field(&base.config),
            parts,
            |part| field(&config(part)),
            what,
        )
    };
    let words = |value: &Option<Vec<String>>| value.clone();
    let word = |value: &Option<String>| value.clone().map(|value| vec![value]);
    let first = |value: Option<Vec<String>>| value.and_then(|value| value.into_iter().next());
    merged.config.entrypoint = match &overrides.entrypoint {
        Some(entrypoint) => Some(entrypoint.clone()),
        None => of(&|c| words(&c.entrypoint), "the entrypoint")?,
    };
    merged.config.cmd = match &overrides.cmd {
        Some(cmd) => Some(cmd.clone()),
        None => of(&|c| words(&c.cmd), "the command")?,
    };
    merged.config.user = match &overrides.user {
        Some(user) => Some(user.clone()),
        None => first(of(&|c| word(&c.user), "the user")?),
    };
    merged.config.working_dir = match &overrides.workdir {
        Some(workdir) => Some(workdir.clone()),
        None => first(of(&|c| word(&c.working_dir), "the working directory")?),
    };
    merged.config.stop_signal = first(of(&|c| word(&c.stop_signal), "the stop signal")?);
    merged.config.shell = of(&|c| words(&c.shell), "the shell")?;
    merged.config.on_build = of(&|c| words(&c.on_build), "the ONBUILD triggers")?;
    merged.config.healthcheck = single(
        &base.config.healthcheck,
        parts,
        |part| part.config.config.healthcheck.clone(),
        "the health check",
    )?;
    for part in parts {
        let config = &part.config.config;
        if let Some(ports) = &config.exposed_ports {
            merged
                .config
                .exposed_ports
                .get_or_insert_default()
                .extend(ports.clone());
        }
        if let Some(volumes) = &config.volumes {
            merged
                .config
                .volumes
                .get_or_insert_default()
                .extend(volumes.clone());
        }
    }
    merged.config.env = environment(base, parts)?;
    merged.config.labels = label_set(base, parts, labels)?;
    Ok(merged)
}

/// The value of something an image has one of: what the parts changed it to, if they agree.
fn single<T: Clone + PartialEq + Debug>(
    base: &Option<T>,
    parts: &[Part<'_>],
    of: impl Fn(&Part<'_>) -> Option<T>,
    what: &str,
) -> Result<Option<T>, Disagreement> {
    let mut chosen: Option<(&str, Option<T>)> = None;
    for part in parts {
        let value = of(part);
        if value == *base {
            continue;
        }
        match &chosen {
            Some((first, other)) if *other != value => {
                return Err(Disagreement {
                    what: what.to_owned(),
                    first: (*first).to_owned(),
                    second: part.name.to_owned(),
                });
            }
            Some(_) => {}
            None => chosen = Some((part.name, value)),
        }
    }
    Ok(chosen.map_or_else(|| base.clone(), |(_, value)| value))
}

fn environment(
    base: &ImageConfig,
    parts: &[Part<'_>],
) -> Result<Option<Vec<String>>, Disagreement> {
    let split = |config: &ImageConfig| -> Vec<(String, String)> {
        let list = config.config.env.iter().flatten();
        list.map(|entry| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        })
        .collect()
    };
    let base_env = split(base);
    let mut merged = base_env.clone();
    let mut changed_by: BTreeMap<String, &str> = BTreeMap::new();
    for part in parts {
        for (name, value) in split(part.config) {
            let before = base_env
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.as_str());
            if before == Some(value.as_str()) {
                continue;
            }
            let slot = merged.iter_mut().find(|(known, _)| *known == name);
            match slot {
                None => merged.push((name.clone(), value)),
                Some((_, current)) => {
                    let first = changed_by.get(&name).copied();
                    if name == "PATH" {
                        *current = join_paths(before.unwrap_or(""), current, &value);
                    } else if let Some(first) = first.filter(|_| *current != value) {
                        return Err(Disagreement {
                            what: format!("the variable {name}"),
                            first: first.to_owned(),
                            second: part.name.to_owned(),
                        });
                    } else {
                        *current = value;
                    }
                }
            }
            changed_by.insert(name, part.name);
        }
    }
    let list: Vec<String> = merged
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Ok((!list.is_empty() || base.config.env.is_some()).then_some(list))
}

/// A search path adds up: what a feature put before or after the base's path is kept there.
fn join_paths(base: &str, current: &str, added: &str) -> String {
    let Some((before, after)) = added.split_once(base).filter(|_| !base.is_empty()) else {
        return added.to_owned();
    };
    let known: Vec<&str> = current.split(':').collect();
    let fresh = |part: &str| -> Vec<String> {
        part.split(':')
            .filter(|dir| !dir.is_empty() && !known.contains(dir))
            .map(str::to_owned)
            .collect()
    };
    let mut all = fresh(before);
    all.push(current.to_owned());
    all.extend(fresh(after));
    all.join(":")
}

fn label_set(
    base: &ImageConfig,
    parts: &[Part<'_>],
    own: &BTreeMap<String, String>,
) -> Result<Option<BTreeMap<String, String>>, Disagreement> {
    let base_labels = base.config.labels.clone().unwrap_or_default();
    let mut merged = base_labels.clone();
    let mut changed_by: BTreeMap<String, &str> = BTreeMap::new();
    for part in parts {
        for (name, value) in part.config.config.labels.iter().flatten() {
            if base_labels.get(name) == Some(value) {
                continue;
            }
            let before = merged.insert(name.clone(), value.clone());
            let clash = changed_by
                .get(name)
                .filter(|_| before.as_ref() != Some(value));
            if let Some(first) = clash.filter(|_| !own.contains_key(name)) {
                return Err(Disagreement {
                    what: format!("the label {name}"),
                    first: (*first).to_owned(),
                    second: part.name.to_owned(),
                });
            }
            changed_by.insert(name.clone(), part.name);
        }
    }
    merged.extend(own.clone());
    Ok((!merged.is_empty()).then_some(merged))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(env: &[&str], diff_ids: &[&str]) -> ImageConfig {
        let mut config = ImageConfig::default();
        config.config.env = Some(env.iter().map(|entry| (*entry).to_owned()).collect());
        config.rootfs.diff_ids = diff_ids.iter().map(|id| (*id).to_owned()).collect();
        config
    }

    #[test]
    fn what_features_add_adds_up() {
        let base = image(&["PATH=/bin", "A=1"], &["b"]);
        let mut one = image(&["PATH=/one:/bin", "A=1", "X=1"], &["b", "f1"]);
        let mut two = image(&["PATH=/two:/bin:/last", "A=1", "Y=2"], &["b", "f2", "f3"]);
        one.config.labels = Some(BTreeMap::from([("l".into(), "1".into())]));
        two.config.cmd = Some(vec!["run".into()]);
        let parts = [
            Part {
                name: "one",
                config: &one,
            },
            Part {
                name: "two",
                config: &two,
            },
        ];
        let own = BTreeMap::from([("own".to_owned(), "yes".to_owned())]);
        let merged = merge(&base, &parts, &Overrides::default(), &own).unwrap();
        assert_eq!(merged.rootfs.diff_ids, ["b", "f1", "f2", "f3"]);
        assert_eq!(
            merged.config.env.unwrap(),
            ["PATH=/two:/one:/bin:/last", "A=1", "X=1", "Y=2"]
        );
        assert_eq!(merged.config.cmd.unwrap(), ["run"]);
        let labels = merged.config.labels.unwrap();
        assert_eq!(labels.get("l").map(String::as_str), Some("1"));
        assert_eq!(labels.get("own").map(String::as_str), Some("yes"));
    }

    #[test]
    fn what_there_is_one_of_must_agree() {
        let base = image(&[], &[]);
        let with = |user: &str, a: &str| {
            let mut config = image(&[&format!("A={a}")], &[]);
            config.config.user = Some(user.to_owned());
            config
        };
        let (one, two, three) = (with("a", "1"), with("b", "1"), with("a", "2"));
        let check = |second: &ImageConfig, overrides: &Overrides| {
            let parts = [
                Part {
                    name: "one",
                    config: &one,
                },
                Part {
                    name: "two",
                    config: second,
                },
            ];
            merge(&base, &parts, overrides, &BTreeMap::new()).map(|merged| merged.config.user)
        };
        let clash = |what: &str| {
            Err(Disagreement {
                what: what.to_owned(),
                first: "one".into(),
                second: "two".into(),
            })
        };
        assert_eq!(check(&one, &Overrides::default()), Ok(Some("a".into())));
        assert_eq!(check(&two, &Overrides::default()), clash("the user"));
        assert_eq!(
            check(&three, &Overrides::default()),
            clash("the variable A")
        );
        let chosen = Overrides {
            user: Some("c".into()),
            ..Overrides::default()
        };
        assert_eq!(check(&two, &chosen), Ok(Some("c".into())));
    }
}
