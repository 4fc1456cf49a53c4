//! Mechanisms, and the parameters of single messages.

use cryptoki_sys::*;
use guard_wire::{Reader, WireError, Writer};
use pkcs11_table::{Function, layout, message_layout};

use super::arena::Arena;
use super::kind::{Kind, NULL, THERE, Terms, fits};
use super::parameter::{self, Placed, is_refused};

/// A mechanism and its parameter.
pub(super) struct Mechanism;

/// A mechanism on the server's side; no parameter where it is NULL.
pub(super) struct PlacedMechanism {
    mechanism: *mut CK_MECHANISM,
    parameter: Option<Placed>,
}

impl Kind for Mechanism {
    type Arguments = (*mut CK_MECHANISM,);
    type Place = PlacedMechanism;

    unsafe fn encode(
        Terms { function, flat }: Terms<'_>,
        (mechanism,): Self::Arguments,
        body: &mut Writer,
    ) -> Result<(), CK_RV> {
        if mechanism.is_null() {
            return fits(body.word(NULL));
        }
        // SAFETY: not NULL, hence a mechanism, by the caller's promise; callers align nothing.
        let own = unsafe { mechanism.read_unaligned() };
        fits(body.word(THERE))?;
        fits(body.word(own.mechanism))?;
        let layout = flat.layout(function, own.mechanism);
        let refused = |length| is_refused(function, flat.parameter(own.mechanism), length);
        // SAFETY: the mechanism's parameter, by the caller's promise.
        unsafe { parameter::encode(layout, refused, (own.pParameter, own.ulParameterLen), body) }
    }

    fn decode(
        function: Function,
        body: &mut Reader<'_>,
        arena: &mut Arena,
    ) -> Result<Self::Place, WireError> {
        if !body.flag("mechanism")? {
            return Ok(PlacedMechanism { mechanism: core::ptr::null_mut(), parameter: None });
        }
        let kind = body.word()?;
        let (layout, held) = (arena.flat().layout(function, kind), arena.flat().parameter(kind));
        let refused = |length| is_refused(function, held, length);
        let parameter = parameter::decode(layout, refused, body, arena)?;
        let mechanism: *mut CK_MECHANISM = arena.place(size_of::<CK_MECHANISM>())?.cast();
        let content =
            CK_MECHANISM { mechanism: kind, pParameter: parameter.pointer, ulParameterLen: parameter.length };
        // SAFETY: the place is as large as a mechanism, and aligned.
        unsafe { mechanism.write(content) };
        Ok(PlacedMechanism { mechanism, parameter: Some(parameter) })
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (place.mechanism,)
    }

    unsafe fn answer(place: &Self::Place, _: CK_RV, answer: &mut Writer) -> Result<(), WireError> {
        match &place.parameter {
            // SAFETY: in the arena, by the promise above.
            Some(parameter) => unsafe { parameter.answer(answer) },
            None => Ok(()),
        }
    }

    unsafe fn deliver(
        function: Function,
        (mechanism,): Self::Arguments,
        _: CK_RV,
        answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        if mechanism.is_null() {
            return Ok(());
        }
        // SAFETY: not NULL, hence a mechanism, by the caller's promise; callers align nothing.
        let own = unsafe { mechanism.read_unaligned() };
        // Of what is flat nothing comes back, whether the table knows it or not.
        let layout = layout(function, own.mechanism);
        // SAFETY: the mechanism's parameter, by the caller's promise.
        unsafe { parameter::deliver(layout, (own.pParameter, own.ulParameterLen), answer) }
    }
}

/// The parameter of a single message (PKCS#11 3.2 section 5.9), to which a module may write: the initialisation vector that it
/// has made, the tag that it has computed.
pub(super) struct Message;

impl Kind for Message {
    type Arguments = (CK_VOID_PTR, CK_ULONG);
    type Place = Placed;

    unsafe fn encode(_: Terms<'_>, arguments: Self::Arguments, body: &mut Writer) -> Result<(), CK_RV> {
        // SAFETY: the caller's parameter, by the caller's promise.
        unsafe { parameter::encode(message_layout(), |_| false, arguments, body) }
    }

    fn decode(_: Function, body: &mut Reader<'_>, arena: &mut Arena) -> Result<Self::Place, WireError> {
        parameter::decode(message_layout(), |_| false, body, arena)
    }

    fn arguments(place: &Self::Place) -> Self::Arguments {
        (place.pointer, place.length)
    }

    unsafe fn answer(place: &Self::Place, _: CK_RV, answer: &mut Writer) -> Result<(), WireError> {
        // SAFETY: in the arena, by the promise above.
        unsafe { place.answer(answer) }
    }

    unsafe fn deliver(
        _: Function,
        arguments: Self::Arguments,
        _: CK_RV,
        answer: &mut Reader<'_>,
    ) -> Result<(), WireError> {
        // SAFETY: the caller's parameter, by the caller's promise.
        unsafe { parameter::deliver(message_layout(), arguments, answer) }
    }
}
