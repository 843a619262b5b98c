//! What a query looks for in the index: the terms of a tenant's month.

use chancery_audit::index::{Field, Term, Wanted, term};
use chancery_audit::sealer::{MonthKeys, NameClass};
use chancery_core::action::Action;
use chancery_core::command::AuditQuery;
use chancery_core::id::{KeyId, PrincipalId, TenantId};

use crate::source::Source;

/// Whom and what of a tenant a query asks for, besides what it names by its id.
pub(super) struct Known {
    /// The key of that name; nothing if there is none.
    key: Option<KeyId>,
    /// Who may have given the operation its id.
    principals: Vec<PrincipalId>,
}

impl Known {
    /// As it is now.
    pub(super) fn of(source: &impl Source, tenant: TenantId, query: &AuditQuery) -> Self {
        let key = query.key.as_ref().and_then(|name| source.key_named(tenant, name));
        let principals = query.operation.map(|_| source.principals(tenant)).unwrap_or_default();
        Self { key, principals }
    }
}

/// What to look for in a tenant's month, whose keys these are; nothing where there is nothing for us.
pub(super) fn wanted(query: &AuditQuery, keys: &MonthKeys, known: &Known) -> Option<Wanted> {
    let mut wanted = names(query, keys, known)?;
    let mut ask = |field, terms: Vec<Term>| wanted.push((field, terms));
    if let Some(reason) = query.reason {
        ask(Field::Reason, vec![keys.reason_term(reason)]);
    }
    if let Some(action) = query.action {
        // Of what the service itself records, any number has the name.
        let numbers = action.numbers();
        let terms = numbers.map(|number| keys.action_term(Action { number, ..action }));
        ask(Field::Action, terms.collect());
    }
    if let Some(outcome) = query.outcome {
        ask(Field::Outcome, vec![keys.outcome_term(outcome)]);
    }
    Some(wanted)
}

/// What few records have, which is looked for first: names, and the digest of an output.
fn names(query: &AuditQuery, keys: &MonthKeys, known: &Known) -> Option<Wanted> {
    let mut wanted = Wanted::new();
    let mut ask = |field, terms: Vec<Term>| wanted.push((field, terms));
    if let Some(output) = query.output {
        ask(Field::Output, vec![keys.output_term(&output)]);
    }
    if let Some(id) = query.operation {
        let of = |principal: &PrincipalId| term(&keys.operation(*principal, id));
        ask(Field::Operation, known.principals.iter().map(of).collect());
    }
    if let Some(handle) = query.handle {
        let pseudonym = keys.pseudonym(NameClass::Handle, handle.as_bytes());
        ask(Field::Credential, vec![term(&pseudonym)]);
    }
    if query.key.is_some() {
        let pseudonym = keys.pseudonym(NameClass::Key, known.key?.as_bytes());
        ask(Field::Key, vec![term(&pseudonym)]);
        if let Some(version) = query.version {
            ask(Field::Version, vec![keys.version_term(&pseudonym, version)]);
        }
    }
    if let Some(actor) = query.actor {
        let pseudonym = keys.pseudonym(NameClass::Principal, actor.as_bytes());
        ask(Field::Actor, vec![term(&pseudonym)]);
    }
    Some(wanted)
}
