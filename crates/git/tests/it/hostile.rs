//! Repositories made to harm whoever unpacks them.

use std::fs;
use std::path::Path;

use crate::common::{Lab, files, git_is_missing};
use launchway_git::GitError;
use launchway_testkit::git::{fed, run};

/// One entry of a tree as git stores it: mode, name, and what it is of.
type Entry<'a> = (&'a str, &'a str, &'a str);

/// The same with a content that was put together.
type OwnEntry = (&'static str, &'static str, String);

/// Makes a served repository out of entries that git itself would not write.
fn repository(served: &Path, name: &str, entries: &[Entry<'_>]) {
    let bare = served.join(name);
    fs::create_dir(&bare).unwrap();
    run(&bare, &["init", "-q", "--bare"]).unwrap();
    let tree = tree(&bare, entries);
    let commit = run(&bare, &["commit-tree", &tree, "-m", "hostile"]).unwrap();
    run(&bare, &["update-ref", "refs/heads/main", &commit]).unwrap();
    run(&bare, &["update-server-info"]).unwrap();
}

/// A tree object; the content of an entry of mode 40000 is the id of another tree.
fn tree(bare: &Path, entries: &[Entry<'_>]) -> String {
    let mut bytes = Vec::new();
    for (mode, name, content) in entries {
        let id = match *mode {
            "40000" | "160000" => (*content).to_owned(),
            _ => fed(bare, &["hash-object", "-w", "--stdin"], content.as_bytes()).unwrap(),
        };
        bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        bytes.extend(
            (0..id.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()),
        );
    }
    fed(
        bare,
        &["hash-object", "-t", "tree", "-w", "--literally", "--stdin"],
        &bytes,
    )
    .unwrap()
}

fn module(name: &str, path: &str, url: &str, more: &str) -> String {
    format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n{more}")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_gets_out() {
    if git_is_missing("nothing_gets_out") {
        return;
    }
    let lab = Lab::new().await;
    let served = lab.folder.path().join("served");
    let victim = lab.folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let plain = lab.id("plain.git", "v1");
    let local = format!("file://{}", served.join("plain.git").display());
    let path = served.join("plain.git").display().to_string();
    let marker = victim.join("ran");
    let run_it = format!("touch {}", marker.display());
    let outside = victim.display().to_string();

    let scratch = served.join("scratch");
    fs::create_dir(&scratch).unwrap();
    run(&scratch, &["init", "-q", "--bare"]).unwrap();
    let script = format!("#!/bin/sh\n{run_it}\n");
    let config =
        format!("[core]\n\tfsmonitor = {run_it}\n\thooksPath = hooks\n\tsshCommand = {run_it}\n");

    let modules = |url: &str| module("m", "m", url, "");
    let with_module = |text: String| {
        vec![
            ("100644", ".gitmodules", text),
            ("160000", "m", plain.clone()),
        ]
    };
    let plain_entries = |entries: &[(&'static str, &'static str, &str)]| {
        entries
            .iter()
            .map(|(mode, name, content)| (*mode, *name, (*content).to_owned()))
            .collect::<Vec<_>>()
    };
    let long: &'static str = Box::leak("n".repeat(300).into_boxed_str());
    let cases: Vec<(&str, Vec<OwnEntry>)> = vec![
        (
            "dot-git-file",
            plain_entries(&[("100644", ".git", "gitdir: /etc")]),
        ),
        (
            "dot-git-link",
            plain_entries(&[("120000", ".git", &outside)]),
        ),
        ("dot-git-case", plain_entries(&[("100644", ".GiT", "x")])),
        ("up", plain_entries(&[("100644", "..", "x")])),
        (
            "slash",
            plain_entries(&[("100644", "../../victim/file", "x")]),
        ),
        ("absolute", plain_entries(&[("100644", "/victim", "x")])),
        ("long", plain_entries(&[("100644", long, "x")])),
        ("empty-name", plain_entries(&[("100644", "", "x")])),
        (
            "modules-link",
            plain_entries(&[("120000", ".gitmodules", "/etc/passwd")]),
        ),
        ("url-dash", with_module(modules("-u./evil"))),
        (
            "url-ext",
            with_module(modules(&format!("ext::sh -c \"{run_it}\""))),
        ),
        ("url-file", with_module(modules(&local))),
        ("url-path", with_module(modules(&path))),
        ("url-up", with_module(modules("../../../../../etc"))),
        (
            "url-ssh-option",
            with_module(modules("ssh://-oProxyCommand=touch/x")),
        ),
        (
            "url-newline",
            with_module(modules("\"http://127.0.0.1:1/a\\nb\"")),
        ),
        (
            "name-up",
            with_module(module("../../victim", "m", "../plain.git", "")),
        ),
        (
            "path-up",
            with_module(module("m", "../m", "../plain.git", "")),
        ),
        (
            "update-command",
            with_module(module(
                "m",
                "m",
                "../plain.git",
                &format!("\tupdate = !{run_it}\n"),
            )),
        ),
        (
            "filter",
            plain_entries(&[
                (
                    "100644",
                    ".gitattributes",
                    "* filter=evil diff=evil merge=evil\n",
                ),
                (
                    "100644",
                    ".gitconfig",
                    &format!("[filter \"evil\"]\n\tsmudge = {run_it}\n"),
                ),
                ("100644", "config", &config),
                ("100644", "file", "x"),
            ]),
        ),
    ];
    for (name, entries) in &cases {
        let entries: Vec<Entry<'_>> = entries
            .iter()
            .map(|(mode, name, content)| (*mode, *name, content.as_str()))
            .collect();
        repository(&served, &format!("{name}.git"), &entries);
    }
    // Folders below the entries: hooks in a `.git`, and a link that a folder of the same name follows.
    for (name, top) in [("dot-git-folder", ".git"), ("dot-git-ntfs", "git~1")] {
        let bare = served.join(format!("{name}.git"));
        repository(&served, &format!("{name}.git"), &[]);
        let hooks = tree(&bare, &[("100755", "post-checkout", &script)]);
        let inner = tree(
            &bare,
            &[("100644", "config", &config), ("40000", "hooks", &hooks)],
        );
        let whole = tree(&bare, &[("40000", top, &inner)]);
        let commit = run(&bare, &["commit-tree", &whole, "-m", "x"]).unwrap();
        run(&bare, &["update-ref", "refs/heads/main", &commit]).unwrap();
    }
    {
        let bare = served.join("through-link.git");
        repository(&served, "through-link.git", &[]);
        let inner = tree(&bare, &[("100644", "file", "x")]);
        let whole = tree(&bare, &[("120000", "a", &outside), ("40000", "a", &inner)]);
        let commit = run(&bare, &["commit-tree", &whole, "-m", "x"]).unwrap();
        run(&bare, &["update-ref", "refs/heads/main", &commit]).unwrap();
    }
    let names = cases.iter().map(|(name, _)| *name);
    for name in names.chain(["dot-git-folder", "dot-git-ntfs", "through-link"]) {
        for keep in [false, true] {
            let before = files(lab.folder.path());
            let url = lab.url(&format!("git/{name}.git"));
            match lab.take(&format!("{url}#main"), keep) {
                Ok((_, tree)) => assert!(tree.starts_with(lab.folder.path()), "{name}"),
                // It is git's own word, and says something.
                Err(GitError::Failed { said, .. }) => assert!(!said.is_empty(), "{name}"),
                Err(other) => panic!("{name}: {other:?}"),
            }
            assert!(!marker.exists(), "{name} has run a command");
            assert_eq!(
                fs::read_dir(&victim).unwrap().count(),
                0,
                "{name} has written"
            );
            let new: Vec<String> = files(lab.folder.path())
                .into_iter()
                .filter(|path| !before.contains(path))
                .filter(|path| !path.starts_with("taken-") && !path.starts_with("state/"))
                .collect();
            assert_eq!(new, [""; 0], "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn which_hostile_repositories_are_refused() {
    if git_is_missing("which_hostile_repositories_are_refused") {
        return;
    }
    let lab = Lab::new().await;
    let served = lab.folder.path().join("served");
    let plain = lab.id("plain.git", "v1");
    let local = format!("file://{}", served.join("plain.git").display());
    for (name, url, why) in [
        ("file", local.as_str(), "transport 'file' not allowed"),
        ("ext", "ext::sh -c true", "transport 'ext' not allowed"),
        ("dash", "-u./x", ""),
    ] {
        let text = module("m", "m", url, "");
        let entries = [
            ("100644", ".gitmodules", text.as_str()),
            ("160000", "m", plain.as_str()),
        ];
        repository(&served, &format!("{name}.git"), &entries);
        let error = lab
            .take(
                &format!("{}#main", lab.url(&format!("git/{name}.git"))),
                false,
            )
            .unwrap_err();
        assert!(error.to_string().contains(why), "{name}: {error}");
    }
    // A link is a link, wherever it leads, and no way to a folder.
    let entries = [("120000", "etc", "/etc"), ("120000", "loop", "loop")];
    repository(&served, "links.git", &entries);
    let url = lab.url("git/links.git");
    let (_, tree) = lab.take(&format!("{url}#main"), false).unwrap();
    assert_eq!(fs::read_link(tree.join("etc")).unwrap(), Path::new("/etc"));
    for folder in ["etc", "etc/apt", "loop"] {
        let error = lab
            .take(&format!("{url}#main:{folder}"), false)
            .unwrap_err();
        assert!(
            matches!(error, GitError::Folder { .. }),
            "{folder}: {error}"
        );
    }
}
