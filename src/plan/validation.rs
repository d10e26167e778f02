//! Validates an object against its class and its organization, before anything is decided.

use super::flow::Interrupt;
use super::spec::{Spec, validate};
use super::{Observed, Refusal, class, consumers, revocation, spec};
use crate::api::Reason;

/// What the objects ask for, if the class allows it.
pub(super) fn validated_spec(o: &Observed) -> Result<Spec, Interrupt> {
    let class_name = &o.user.spec.class_name;
    let class = o.class.as_ref().ok_or_else(|| {
        let message = format!(
            "there is no ProgrammaticUserClass {class_name}: correct spec.className, or create the class"
        );
        Refusal::new(Reason::UnknownClass, message)
    })?;
    // First of all: nothing that a tenant writes hides it.
    let namespace = o.user.metadata.namespace.as_deref().unwrap_or_default();
    class::open_to(class, namespace, &o.namespace_labels)?;
    let organization = o.organization.as_ref().ok_or_else(|| {
        let name = &class.spec.organization_name;
        Refusal::new(
            Reason::UnknownOrganization,
            format!("class {class_name} names Organization {name}, which does not exist: create it"),
        )
    })?;
    let lives_in = organization.metadata.name.as_deref().unwrap_or_default();
    if lives_in != class.spec.organization_name {
        let message = format!(
            "class {class_name} now names Organization {}, but this object's user lives in {lives_in}: delete this object and create it again",
            class.spec.organization_name
        );
        return Err(Refusal::new(Reason::OrganizationChanged, message).into());
    }
    let outcome = if let Some(why) = &o.unreadable {
        // What cannot be read, such as a rotation, is not held against the object.
        class::check_access_of(&o.user, class).and_then(|()| Err(cannot_be_read(why)))
    } else {
        // The number of users is a bound for new ones.
        let siblings = (!o.has_begun()).then_some(o.quota_used);
        class::check(&o.user, class, &o.namespace_labels, siblings)?;
        o.validated
            .clone()
            .unwrap_or_else(|| validate(&o.user, class, organization))
    };
    let desired = match (outcome, spec::access(&o.user, class)) {
        (Ok(desired), _) => desired,
        // An object that cannot be used keeps no token that the class wants gone.
        (Err(refusal), Some(access)) if o.has_begun() && !refusal.revokes => {
            revocation::still_granted(o, access)?;
            return Err(refusal.into());
        }
        (Err(refusal), _) => return Err(refusal.into()),
    };
    if o.current().is_none() {
        consumers::allowed(o, &desired)?;
    }
    if !o.has_begun() {
        class::retains(o)?;
    }
    Ok(desired)
}

/// Validates spec, class and organization once for all steps of a reconcile: none of these changes the spec.
pub fn validate_object(o: &mut Observed) {
    if let (Some(class), Some(organization)) = (&o.class, &o.organization) {
        o.validated = Some(validate(&o.user, class, organization));
    }
}

fn cannot_be_read(why: &str) -> Refusal {
    let message = format!(
        "the operator cannot read this object in full, and makes and changes nothing until it can: {why}. Correct that field, or take an operator of the version that the custom resource definitions are of. A deletion, a revocation, an expiry and the class's rules are carried out all the same"
    );
    Refusal::new(Reason::InvalidSpec, message)
}
