//! Commands: what they are called, what they take, who may give them, and what they do.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::parameters::{self, Field};
use super::{Call, Failure, Responder};

/// What is done with a request whose command it is: parameters as text.
pub(super) type Run = Arc<dyn Fn(&mut Call<'_>, &str) + Send + Sync>;

/// A command on its way into a [`Router`](super::Router): it still lacks what it does, which [`answers`](Self::answers) or
/// [`defers`](Self::defers) adds.
#[derive(Debug)]
#[must_use = "a command does nothing until it is added to a router"]
pub struct CommandBuilder {
    name: Cow<'static, str>,
    summary: Cow<'static, str>,
    role: Option<Cow<'static, str>>,
    documented: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

/// A command of a control socket.
///
/// Its parameters are a type of yours with `serde::Deserialize`, read and checked before its handler is called; `help` tells what
/// they are called, what type they have and whether they may be left out, as the type itself says.
///
/// ```
/// use campana::control::{Command, Failure, Router};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Add {
///     a: i64,
///     b: i64,
/// }
///
/// let mut router = Router::new();
/// router.add(
///     Command::new("add", "Adds two numbers.")
///         .parameter("a", "the first")
///         .parameter("b", "the second")
///         .answers(|_call, add: Add| add.a.checked_add(add.b).ok_or_else(|| Failure::new("too large"))),
/// )?;
/// # Ok::<(), campana::control::CommandError>(())
/// ```
#[derive(Clone)]
pub struct Command {
    name: Cow<'static, str>,
    summary: Cow<'static, str>,
    role: Option<Cow<'static, str>>,
    parameters: Vec<Parameter>,
    pub(super) run: Run,
    /// Documented, and no field of the parameters' type.
    unknown: Option<Cow<'static, str>>,
}

/// A parameter of a command, as `help` shows it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Parameter {
    /// What it is called.
    pub name: Cow<'static, str>,
    /// What JSON it takes.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// Whether it has to be there.
    pub required: bool,
    /// What it says.
    pub doc: Cow<'static, str>,
}

impl Command {
    /// A command, with one sentence that says what it does.
    #[allow(clippy::new_ret_no_self, reason = "it is not whole before it has a handler")]
    pub fn new(name: impl Into<Cow<'static, str>>, summary: impl Into<Cow<'static, str>>) -> CommandBuilder {
        CommandBuilder { name: name.into(), summary: summary.into(), role: None, documented: Vec::new() }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// The role that it asks for.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// What it takes.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    pub(super) fn unknown_parameter(&self) -> Option<&str> {
        self.unknown.as_deref()
    }
}

impl CommandBuilder {
    /// Says what a parameter is good for: a field of the parameters' type, by the name that it has in JSON.
    pub fn parameter(
        mut self,
        name: impl Into<Cow<'static, str>>,
        doc: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.documented.push((name.into(), doc.into()));
        self
    }

    /// Lets only peers give it that have a role; see [`Access`](super::Access).
    pub fn role(mut self, role: impl Into<Cow<'static, str>>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// The handler answers when it returns. It runs on the loop of the control socket, and should not block.
    pub fn answers<P, R>(
        self,
        handler: impl Fn(&mut Call<'_>, P) -> Result<R, Failure> + Send + Sync + 'static,
    ) -> Command
    where
        P: DeserializeOwned,
        R: Serialize,
    {
        let run: Run = Arc::new(move |call, params| {
            if let Some(params) = parsed(call, params) {
                let result = handler(call, params);
                call.answer(&result);
            }
        });
        self.build::<P>(run)
    }

    /// The handler gets a [`Responder`], which answers now or later, here or on another thread. Meanwhile other requests are
    /// answered, those of the same session included.
    pub fn defers<P>(self, handler: impl Fn(&mut Call<'_>, P, Responder) + Send + Sync + 'static) -> Command
    where
        P: DeserializeOwned,
    {
        let run: Run = Arc::new(move |call, params| {
            if let Some(params) = parsed(call, params)
                && let Some(responder) = call.responder()
            {
                handler(call, params, responder);
            }
        });
        self.build::<P>(run)
    }

    fn build<P: DeserializeOwned>(self, run: Run) -> Command {
        let Self { name, summary, role, documented } = self;
        let doc_of = |name: &str| {
            let found = documented.iter().find(|(known, _)| known == name);
            found.map_or(Cow::Borrowed(""), |(_, doc)| doc.clone())
        };
        let of_type = |Field { name, kind, required }| Parameter {
            name: name.into(),
            kind: kind.into(),
            required,
            doc: doc_of(name),
        };
        let (parameters, unknown) = match parameters::fields_of::<P>() {
            Some(fields) => {
                let is_known = |name: &str| fields.iter().any(|field| field.name == name);
                let unknown = documented.iter().find(|(name, _)| !is_known(name));
                let unknown = unknown.map(|(name, _)| name.clone());
                (fields.into_iter().map(of_type).collect(), unknown)
            }
            None => {
                // A map, say: the documentation is all that is known.
                let of_doc = |(name, doc): &(Cow<'static, str>, _)| Parameter {
                    name: name.clone(),
                    kind: "any".into(),
                    required: false,
                    doc: Cow::clone(doc),
                };
                (documented.iter().map(of_doc).collect(), None)
            }
        };
        Command { name, summary, role, parameters, run, unknown }
    }
}

/// The parameters of a request; if they aren't such, that is answered, and nothing given.
fn parsed<P: DeserializeOwned>(call: &mut Call<'_>, params: &str) -> Option<P> {
    match parameters::parse(params) {
        Ok(params) => Some(params),
        Err(errors) => {
            call.refuse_params(errors);
            None
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}
