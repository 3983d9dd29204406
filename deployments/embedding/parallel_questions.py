"""The same questions in each language: where their vectors differ, they differ by the language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployments.types import Language

PARALLEL_QUESTIONS: Mapping[Language, Sequence[str]] = {
    "hr": (
        "Koliko dana imam za žalbu?",
        "Kako se peče kruh kod kuće?",
        "Kada kreće prvi vlak?",
        "Smijem li taj lijek uzeti prije jela?",
        "Tko plaća popravak u stanu koji iznajmljujem?",
        "Zašto mi se uređaj ne uključuje?",
        "Gdje mogu kupiti kartu za trajekt?",
        "Koliko košta ulaznica za djecu?",
        "Što učiniti ako zaboravim lozinku?",
        "Kako prijaviti ispit?",
        "Koliko dugo se čuvaju moji podaci?",
        "Imam li pravo na godišnji odmor ako radim tek tri mjeseca?",
        "Kada treba zalijevati rajčice?",
        "Kako podmazati lanac na biciklu?",
        "Tko saziva sjednicu vijeća?",
        "Mogu li vratiti knjigu u drugoj knjižnici?",
        "Kako sniziti vrućicu djetetu?",
        "Što je sve potrebno za kredit?",
        "Smije li pas na plažu?",
        "Koji su dokumenti potrebni za registraciju auta?",
        "Kako skuhati juhu od povrća?",
        "Kad je grad izgorio i tko ga je obnovio?",
        "Kolika je kazna za kašnjenje s plaćanjem?",
        "Kako odgoditi slanje poruke?",
    ),
    "en": (
        "How many days do I have for an appeal?",
        "How do I bake bread at home?",
        "When does the first train leave?",
        "May I take this medicine before meals?",
        "Who pays for repairs in a flat that I rent out?",
        "Why does my device not switch on?",
        "Where can I buy a ticket for the ferry?",
        "How much is a ticket for children?",
        "What do I do if I forget my password?",
        "How do I register for an exam?",
        "How long is my data kept?",
        "Am I entitled to annual leave if I have worked for three months only?",
        "When should tomatoes be watered?",
        "How do I oil a bicycle chain?",
        "Who calls the session of the council?",
        "Can I return a book to another library?",
        "How can a child's fever be brought down?",
        "What is needed for a loan?",
        "Are dogs allowed on the beach?",
        "Which documents are needed to register a car?",
        "How do I cook vegetable soup?",
        "When did the town burn down and who rebuilt it?",
        "What is the penalty for paying late?",
        "How do I delay sending a message?",
    ),
}
"""Of many subjects. Those at the same place ask the same."""
