//! What steps are given: secrets and agents of ssh.

use super::{Choice, Form, NON_EMPTY, Shape, TableSpec, list, optional, required};

pub(crate) static SECRET: TableSpec = TableSpec {
    title: "a secret",
    keys: &[
        required(
            "id",
            Shape::Text(Form::NonEmpty),
            "Its id in the Dockerfile.",
        ),
        optional("file", Shape::Text(Form::NonEmpty), "A file of the host."),
        optional(
            "env",
            Shape::Text(Form::NonEmpty),
            "A variable of the environment.",
        ),
    ],
    choices: &[Choice {
        keys: ["file", "env"],
        needed: true,
    }],
};

pub(crate) static SSH: TableSpec = TableSpec {
    title: "an ssh agent",
    keys: &[
        required(
            "id",
            Shape::Text(Form::NonEmpty),
            "Its id in the Dockerfile; `default` is the one of mounts without an id.",
        ),
        optional(
            "socket",
            Shape::Text(Form::NonEmpty),
            "The socket of an agent; the one of `SSH_AUTH_SOCK` by default.",
        ),
        optional(
            "keys",
            list(&NON_EMPTY),
            "Files with private keys that have no passphrase.",
        ),
    ],
    choices: &[Choice {
        keys: ["socket", "keys"],
        needed: false,
    }],
};
