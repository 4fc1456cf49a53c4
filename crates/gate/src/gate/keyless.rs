//! Calls that use no key: logins, and what the token does for everybody.

use std::sync::Arc;

use pkcs11_table::{Class, Function};

use super::{Gate, Scope};
use crate::denial::{Denial, Refusal};
use crate::permit::{Open, Permit};
use crate::rules::{self, Demands};
use crate::sessions::Place;
use crate::subject::Subject;

impl Gate {
    /// The permit of a call that uses no key and demands nothing; `None` where it takes a trust token, or is no such call.
    #[inline]
    pub fn free(&self, function: Function) -> Option<Open> {
        (function.class() == Class::Keyless && self.settings.scope == Scope::Keys).then(Open::judged)
    }

    /// Judges a call that uses no key and demands nothing: it takes a trust token only where everything is gated.
    ///
    /// # Errors
    /// The refusal, on record.
    #[inline]
    pub fn harmless(&self, place: &Place, function: Function) -> Result<Open, Denial> {
        match self.free(function) {
            Some(permit) => Ok(permit),
            None => self.keyless(place, &rules::harmless(function)),
        }
    }

    /// Judges a call that uses no key: unless it demands something, it takes a trust token only where everything is gated.
    ///
    /// # Errors
    /// The refusal, on record.
    #[inline(never)]
    pub fn keyless(&self, place: &Place, demands: &Demands) -> Result<Open, Denial> {
        let judged = match demands.function.class() {
            Class::Keyless => self.judge(demands, None),
            _ => Err(Refusal::WrongClass),
        };
        let subject = demands.iter().map(|demand| &demand.subject).next();
        judged
            .map(|(_, spending)| {
                spending.complete();
                Open::judged()
            })
            .map_err(|refusal| self.refuse(Some(place), demands.function, subject, refusal))
    }

    /// Judges a login by its user type. Logging in a user makes no use of a key, and refusing it breaks clients; the security
    /// officer administers `token`.
    ///
    /// # Errors
    /// The refusal, on record.
    pub fn login(
        &self,
        place: &Place,
        function: Function,
        user: u64,
        token: &Arc<Subject>,
    ) -> Result<Permit, Denial> {
        const USER: u64 = 1;
        const CONTEXT_SPECIFIC: u64 = 2;
        let demands = match user {
            USER | CONTEXT_SPECIFIC => Demands::none(function),
            _ => rules::administer(function, token),
        };
        let (permit, spending) = self.permit(Some(place), &demands)?;
        spending.complete();
        Ok(permit)
    }

    /// Judges a user's login where that is for those alone who have a trust token: what an application gives for a PIN could
    /// lock the token. With the permit comes the component that the trust token is for.
    ///
    /// # Errors
    /// The refusal, on record.
    pub fn login_by_token(
        &self,
        place: &Place,
        function: Function,
        token: &Arc<Subject>,
    ) -> Result<(Permit, String), Denial> {
        let judged = match function {
            Function::C_Login | Function::C_LoginUser => self.token(),
            _ => Err(Refusal::WrongClass),
        };
        match judged {
            Ok(held) => Ok((Permit::new(function), held.token.claims().component.clone())),
            Err(refusal) => Err(self.refuse(Some(place), function, Some(token), refusal)),
        }
    }
}
