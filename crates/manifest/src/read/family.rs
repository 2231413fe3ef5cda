//! What all images have in common: `[family]`, `[versions]`, `[npm]`, `[build]`, `[retry]`.

use std::collections::BTreeMap;
use std::str::FromStr;

use launchway_diagnostics::{Diagnostic, Span, Spanned};
use launchway_model::{
    ImageName, LimitError, PidsLimit, Platform, RegistryHost, StepLimits, VersionName,
};
use toml::de::DeValue;

use super::{Draft, Reader, Table};
use crate::codes;
use crate::family::{
    BuildSettings, Compression, Family, Network, NpmSettings, RegistryPrefix, RetrySettings,
    Secret, SshAgent, VersionSource,
};
use crate::keys::VERSION;

/// Reads the whole file.
pub(crate) fn family(reader: &mut Reader<'_>, root: &Table<'_>) -> Draft {
    let versions = reader.versions_table(root);
    let head = root.table("family");
    let platforms = head
        .as_ref()
        .and_then(|head| reader.platforms(head))
        .unwrap_or_default();
    let mut family = Family {
        name: Spanned::new(String::new(), root.span),
        platforms: Vec::new(),
        registries: Vec::new(),
        plain_http: Vec::new(),
        ignore: Vec::new(),
        versions,
        npm: root
            .table("npm")
            .map(|table| reader.npm(&table))
            .unwrap_or_default(),
        build: root
            .table("build")
            .map(|table| reader.build(&table))
            .unwrap_or_default(),
        retry: root
            .table("retry")
            .map(|table| reader.retry(&table))
            .unwrap_or_default(),
        lint: reader.lint(root),
        images: Vec::new(),
    };
    if let Some(head) = head {
        if let Some(name) = head.text("name") {
            // A family's name follows the rule of its images' names.
            if !name.value.trim().is_empty() {
                let _: Option<ImageName> = reader.name("a family", &name);
            }
            family.name = name;
        }
        family.registries = reader.registries(&head);
        family.plain_http = reader.plain_http(&head);
        family.ignore = head.texts("ignore").unwrap_or_default();
    }
    family.images = reader.images(root, &platforms);
    family.platforms = platforms;
    Draft {
        family,
        unreadable_images: std::mem::take(&mut reader.unreadable_images),
    }
}

impl Reader<'_> {
    fn versions_table(
        &mut self,
        root: &Table<'_>,
    ) -> BTreeMap<VersionName, Spanned<VersionSource>> {
        let mut versions = BTreeMap::new();
        for entry in root.entries("versions") {
            let Some(name) = self.name::<VersionName>("a version", &entry.name) else {
                self.versions_incomplete = true;
                continue;
            };
            // Known even when its source is wrong: whoever mentions it is not to blame.
            self.versions.insert(name.clone());
            let span = Span::new(self.source, entry.value.span());
            let source = match entry.value.get_ref() {
                DeValue::String(text) => self.pinned(&name, text, span),
                DeValue::Table(table) => {
                    self.npm_version(&Table::new(table, &VERSION, self.source, span))
                }
                _ => None,
            };
            if let Some(source) = source {
                versions.insert(name, Spanned::new(source, span));
            }
        }
        versions
    }

    fn pinned(&mut self, name: &VersionName, text: &str, span: Span) -> Option<VersionSource> {
        if text.trim().is_empty() {
            return None; // reported with the shape
        }
        if text.trim() != text || text.contains(char::is_control) {
            self.bad_value(
                span,
                format!("`{name}` is not a version"),
                "blanks around it, or control characters",
            );
            return None;
        }
        if text == "latest" || text.starts_with(['^', '~', '>', '<', '=', '*']) {
            let problem =
                Diagnostic::error(codes::BAD_VALUE, format!("`{name}` is not a concrete version"))
                    .at(span, "a text is a version that is taken as it is")
                    .help(format!(
                        "name the package that it is resolved from: {name} = {{ npm = \"PACKAGE\", accept = {text:?} }}"
                    ));
            self.report(problem);
            return None;
        }
        Some(VersionSource::Pinned(text.to_owned()))
    }

    fn npm_version(&mut self, table: &Table<'_>) -> Option<VersionSource> {
        let package = table.text("npm")?;
        let accept = table.text("accept");
        if let Some(at) = package.value.rfind('@').filter(|&at| at > 0) {
            let span = self.inside(&package, at..package.value.len());
            let wanted = &package.value[at + 1..];
            let problem = Diagnostic::error(
                codes::BAD_VALUE,
                format!("{:?} is not the name of a package", package.value),
            )
            .at(span, "a version is not part of the name")
            .help(format!("write accept = {wanted:?} beside it"));
            self.report(problem);
            return None;
        }
        let (scope, name) = match package.value.split_once('/') {
            Some((scope, name)) => (scope.strip_prefix('@'), name),
            None => (Some("scope"), package.value.as_str()),
        };
        let good = |word: &str| {
            !word.is_empty()
                && !word.starts_with(['.', '_'])
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~'))
        };
        if !scope.is_some_and(good) || !good(name) {
            if !package.value.trim().is_empty() {
                self.bad_value(
                    package.span,
                    format!("{:?} is not the name of a package", package.value),
                    "a name, or @scope/name",
                );
            }
            return None;
        }
        Some(VersionSource::Npm {
            package: package.value,
            accept,
        })
    }

    fn registries(&mut self, head: &Table<'_>) -> Vec<Spanned<RegistryPrefix>> {
        let mut registries = Vec::new();
        for text in head.texts("registries").unwrap_or_default() {
            match text.value.parse::<RegistryPrefix>() {
                Ok(registry) => registries.push(Spanned::new(registry, text.span)),
                Err(_) if text.value.trim().is_empty() => {}
                Err(error) => {
                    let problem = Diagnostic::error(
                        codes::BAD_REGISTRY,
                        format!("{:?} is not a registry", text.value),
                    );
                    let (problem, better) = match text.value.split_once("://") {
                        Some((scheme, rest)) => (
                            problem.at(
                                self.inside(&text, 0..scheme.len() + 3),
                                "registries are written without a scheme",
                            ),
                            rest.trim_end_matches('/').to_owned(),
                        ),
                        None => (
                            problem.at(self.character(&text, error.at), error.reason),
                            format!("docker.io/{}", text.value),
                        ),
                    };
                    let better =
                        Some(better).filter(|better| better.parse::<RegistryPrefix>().is_ok());
                    self.report(match better {
                        Some(better) => problem.help(format!("write {better:?}")),
                        None => problem,
                    });
                }
            }
        }
        self.without_repeats(registries)
    }

    fn plain_http(&mut self, head: &Table<'_>) -> Vec<Spanned<RegistryHost>> {
        let mut hosts = Vec::new();
        for text in head.texts("plain-http").unwrap_or_default() {
            match text.value.parse::<RegistryHost>() {
                Ok(host) => hosts.push(Spanned::new(host, text.span)),
                Err(error) => {
                    let problem = Diagnostic::error(
                        codes::BAD_REGISTRY,
                        format!("{:?} is not a registry's host", text.value),
                    )
                    .at(self.character(&text, error.at), error.reason)
                    .help("write a host with its port, as in \"registry.lan:5000\"");
                    self.report(problem);
                }
            }
        }
        self.without_repeats(hosts)
    }

    fn npm(&mut self, table: &Table<'_>) -> NpmSettings {
        let registry = table.text("registry").filter(|url| {
            let rest = url
                .value
                .strip_prefix("https://")
                .or_else(|| url.value.strip_prefix("http://"));
            let host = rest.and_then(|rest| rest.split('/').next());
            let reason = match host {
                None | Some("") => "an address starts with https:// and a host",
                Some(host) if host.contains('@') => "credentials have no place in this file",
                _ if url.value.contains(char::is_whitespace) => "an address has no blanks",
                _ => return true,
            };
            if !url.value.trim().is_empty() {
                // The value is not repeated: it may hold a password.
                self.bad_value(url.span, "`registry` is not an address".to_owned(), reason);
            }
            false
        });
        NpmSettings { registry }
    }

    fn build(&mut self, table: &Table<'_>) -> BuildSettings {
        let default = BuildSettings::default();
        BuildSettings {
            host_ca: table.bool("host-ca").unwrap_or(default.host_ca),
            timeout: self.time_limit(table, "timeout").unwrap_or(default.timeout),
            secrets: self.secrets(table),
            ssh: self.agents(table),
            compression: match table.text("compression").as_deref().map(String::as_str) {
                Some("zstd") => Compression::Zstd,
                _ => Compression::Gzip,
            },
            network: match table.text("network").as_deref().map(String::as_str) {
                Some("none") => Network::None,
                _ => Network::Host,
            },
            limits: self.limits(table),
            no_new_privileges: table
                .bool("no-new-privileges")
                .unwrap_or(default.no_new_privileges),
        }
    }

    fn limits(&mut self, table: &Table<'_>) -> StepLimits {
        let limits = StepLimits {
            memory: self.limit(table, "memory"),
            memory_swap: self.limit(table, "memory-swap"),
            pids: match table.integer("pids-limit") {
                None => PidsLimit::Default,
                Some(pids) => u32::try_from(pids)
                    .ok()
                    .filter(|pids| *pids > 0)
                    .map_or(PidsLimit::Unlimited, PidsLimit::Limit),
            },
            cpus: self.limit(table, "cpus"),
            shm_size: self.limit(table, "shm-size"),
            ulimits: table
                .texts("ulimits")
                .unwrap_or_default()
                .iter()
                .filter_map(|text| self.parse_limit(text))
                .collect(),
            cgroup_parent: None,
        };
        if let Err(error) = limits.check()
            && let Some(text) = table.text("memory-swap").or_else(|| table.text("memory"))
        {
            self.bad_value(
                text.span,
                "these limits do not fit together".to_owned(),
                &error.to_string(),
            );
        }
        limits
    }

    fn limit<T: FromStr<Err = LimitError>>(&mut self, table: &Table<'_>, key: &str) -> Option<T> {
        let text = table.text(key)?;
        self.parse_limit(&text)
    }

    fn parse_limit<T: FromStr<Err = LimitError>>(&mut self, text: &Spanned<String>) -> Option<T> {
        match text.value.parse() {
            Ok(limit) => Some(limit),
            Err(_) if text.value.trim().is_empty() => None, // reported with the shape
            Err(error) => {
                let message = format!("{:?} is no limit", text.value);
                self.report(
                    Diagnostic::error(codes::BAD_VALUE, message)
                        .at(text.span, "cannot be read")
                        .help(error.to_string()),
                );
                None
            }
        }
    }

    fn secrets(&mut self, table: &Table<'_>) -> Vec<Secret> {
        let mut secrets = Vec::new();
        let mut ids = Vec::new();
        for table in table.tables("secrets") {
            let Some(id) = table.text("id") else {
                continue;
            };
            let env = table.text("env");
            if let Some(env) = &env {
                let _: Option<VersionName> = self.name("a variable of the environment", env);
            }
            secrets.push(Secret {
                id: id.value.clone(),
                file: table.text("file").map(|file| file.value),
                env: env.map(|env| env.value),
            });
            ids.push(id);
        }
        self.without_repeats(ids);
        secrets
    }

    fn agents(&mut self, table: &Table<'_>) -> Vec<SshAgent> {
        let mut agents = Vec::new();
        let mut ids = Vec::new();
        for table in table.tables("ssh") {
            let Some(id) = table.text("id") else {
                continue;
            };
            let keys = table.texts("keys").unwrap_or_default();
            agents.push(SshAgent {
                id: id.value.clone(),
                socket: table.text("socket").map(|socket| socket.value),
                keys: keys.into_iter().map(|key| key.value).collect(),
            });
            ids.push(id);
        }
        self.without_repeats(ids);
        agents
    }

    fn retry(&mut self, table: &Table<'_>) -> RetrySettings {
        let default = RetrySettings::default();
        let attempts = table.integer("attempts");
        let pauses = table.texts("pauses").map(|texts| {
            texts
                .iter()
                .filter_map(|text| self.duration(text))
                .collect()
        });
        RetrySettings {
            attempts: attempts
                .and_then(|attempts| u32::try_from(attempts).ok())
                .unwrap_or(default.attempts),
            pauses: pauses.unwrap_or(default.pauses),
        }
    }

    fn images(
        &mut self,
        root: &Table<'_>,
        platforms: &[Spanned<Platform>],
    ) -> Vec<crate::family::Image> {
        let mut images = Vec::new();
        for (name, table) in root.named_tables("image") {
            let parsed = self.name::<ImageName>("an image", &name);
            let image = self.image(parsed.as_ref(), name.span, &table, platforms);
            match image {
                Some(image) => images.push(image),
                None => {
                    self.unreadable_images.insert(name.value.to_owned());
                }
            }
        }
        images
    }
}
