"""Which choice an answer means, in the forms and languages that models write."""

import pytest

from sft_pipeline.evaluation.scorers import choice

LETTERS = {"answer": "B", "choices": ["A", "B", "C", "D"]}
YES = {"answer": "yes", "choices": ["yes", "no"]}
LISTED = "Which is it?\n(A) red river\n(B) blue lake\n(C) green sea"


def read(output, instruction="", **reference):
    return choice.score(choice.Item("i1", instruction, "", "t", reference), output, {})


@pytest.mark.parametrize(
    "output",
    [
        "B",
        "b",
        "(B)",
        "(b)",
        "B.",
        "B)",
        "**B**",
        "**B)**",
        "$\\boxed{B}$",
        "\\boxed{\\text{B}}",
        "\\boxed{(B)}",
        "ANSWER: B",
        "ANSWER: b",
        "Answer: (b)",
        "answer: b.",
        "Answer:B",
        "**Answer: B**",
        "**Answer:** B",
        "Final answer: B",
        "Final Answer: **B**",
        "The answer is B",
        "The answer is (B).",
        "The final answer is B.",
        "The correct answer is B",
        "the correct answer is option B.",
        "The correct option is (B).",
        "The best choice is B",
        "My answer is B.",
        "B) because option C contradicts the text.",
        "B. Because C is wrong.",
        "B because option C contradicts the text",
        "(B) because (C) contradicts the text.",
        "B, since A and C are wrong.",
        "B: A is wrong.",
        "B - the other options A, C are wrong",
        "B\n\nExplanation: A is wrong, C is too.",
        "Option B\nA is wrong.",
        "Option (B) because A is wrong",
        "A is a river, C too.\nB",
        "A is a river, C too.\n\n**B**",
        "A is wrong. C is wrong.\n\nSo B.",
        "A or C? No.\nTherefore, the answer is B.",
        "A and C are wrong.\nB) a lake",
        "A, C are rivers.\nFinal answer B",
        "A, C.\n<answer>B</answer>",
        "<think>maybe A. The answer is A.</think>B",
        "Maybe A.</think>\nB",
        "B<|im_end|>\n<|im_start|>user\nA C",
        "B</s>A",
        "B<|endoftext|>The answer is C.",
        "B\n\nQuestion: What? The answer is C.",
        "The answer is B.\n\nQuestion: next?\nThe answer is A.",
        "La respuesta es B",
        "La respuesta correcta es B, no A.",
        "La respuesta es la B, y no C",
        "La respuesta correcta es la opción B) lago, no A",
        "Respuesta: B. A no es correcta",
        "La opción correcta es B; A y C son falsas.",
        "Respuesta: b",
        "Die Antwort ist B, nicht A.",
        "Die richtige Antwort ist B, nicht A",
        "Die richtige Antwort lautet: B (nicht C)",
        "Antwort: B, denn A ist falsch",
        "Antwort B\nA ist falsch",
        "La réponse est B, pas A.",
        "La bonne réponse est la B, pas la A",
        "La bonne réponse est l'option B, et non A",
        "Réponse : B. Car A est fausse.",
        "La risposta corretta è B, non A",
        "Risposta: B, non A",
        "A resposta correta é B, não A",
        "A resposta correta é a alternativa B e não C.",
        "Het juiste antwoord is B, niet A",
        "Ответ: B, а не A",
        "Правильный ответ: B (не A)",
        "Правильный ответ — B, не A",
        "Правильный ответ: В",
        "Ответ: В.",
        "The answer is В.",
        "Ответ B\nA неверно",
        "答案是B，不是A",
        "正确答案是B，不是A。",
        "答案：B。A不对",
        "答案为B，A错",
        "正确答案：B。A错",
        "所以答案选B，不选A",
        "故选B。A错误",
        "答案是 (B)，A错",
        "正解はBです。Aではない",
        "答えはBです。Aは違う",
        "答え：B。A",
        "정답은 B입니다. A는 틀렸다",
        "답: B. A",
        "คำตอบคือ B ไม่ใช่ A",
        "الإجابة الصحيحة هي B وليس A",
        "الإجابة: B. A",
        "الإجابة: ب",
        "Jawaban: B, bukan A",
        "Jawaban yang benar adalah B, bukan A",
        "Cevap: B, A değil",
        "Doğru cevap B\nA değil",
        "Đáp án đúng là B, không phải A",
        "Odpowiedź: B, nie A",
        "Poprawna odpowiedź to B, nie A",
        "Svaret är B, inte A",
        "Oikea vastaus on B, ei A",
        "I would choose B. A is wrong.",
        "I'd go with (B), as A is wrong.",
        "Option B is correct. A is wrong.",
        "B is the correct answer, A is not.",
        "(B) is the best option because (A) fails",
        "A and C are wrong, so B is right",
        '{"answer": "B", "why": "A"}',
        "[[B]]",
        "Ｂ",
        "Ⓑ",
        "The answer is: \n\nB) A lake",
        "Looking at A and C... \n\nANSWER: B\n",
        "Let me think. A is wrong.\n#### B",
        "Answer: Option B",
        "Answer: $B$",
        "Answer: **(B)** A lake",
        "The answer would be B. A large lake is C.",
        "So the answer is B\n\n\n",
        "B. Paris",
        "B.  Paris is in France, A is not.",
        "Choice B",
        "The letter is B",
        "I think B",
        "I think the answer is B but A is close",
        "The answer is not A but B.",
        "A: no\nB: yes\nC: no\nD: no\nAnswer: B",
        "A) no\nB) yes\nC) no\nD) no\n\nB",
        "1. A is wrong\n2. C is wrong\n3. So B",
        '```json\n{"reasoning": "A is wrong", "answer": "B"}\n```',
        "### Answer: B\nA is wrong",
        "Answer:\n\nB\n\nA is wrong.",
        "Answer\nB\nbecause A is wrong",
        "Label: B\nA",
        "Correct answer: B. A is wrong.",
        "Correct: B (not A)",
        "My choice: B, not A",
        "I'd say B rather than A.",
        "It's B, since A fails.",
        "It is B, because A is too small.",
        "B is correct because A is not.",
        "B is right; A is wrong.",
        "Answer - B. A is wrong",
        "Ans: B. A is wrong",
        "Ans. B, not A",
        "The correct answer is: B) a lake, because A) is a river.",
        "The answer must be B, since A and C fail.",
        "Therefore the correct choice is B, not A.",
        "Hence B, not A.",
        "So, (B). Not (A).",
        "The answer is option B, and A is wrong.",
        "The answer is choice (B) rather than (A).",
        'The answer is "B" and not "A".',
        "The answer is 'B'. 'A' is wrong.",
        "The answer is **B** (not **A**).",
        "The answer is: **B. lake**. A is a river.",
        "**Correct answer: B** — A is wrong",
        "### Answer: B",
        "Final Answer: B",
        "The final answer is $\\boxed{B}$. A is wrong.",
        "Answer: B (A is wrong)",
        "**B**: because A is wrong",
        "B. A is wrong because it is not a lake.",
        "B - because A is wrong",
        "B! A is wrong.",
        "B... A is wrong",
        "Option B is the answer; A isn't.",
        "Option B: lake. Option A is wrong.",
        "The best answer is B. A is second best.",
        "The most likely answer is B, then A.",
        "The right answer would be B over A.",
        "The answer should be B; A is wrong",
        "I believe the answer is B, A being wrong.",
        "Clearly the answer is B and not A",
        "We choose B. A is wrong",
        "I pick B over A",
        "I select option B, not A.",
        "Let me choose: B (A is wrong)",
        "Out of A and C and B, B is the best answer.",
        "Comparing A with B, the answer is B.",
        "Elimination: A no, C no, D no. Answer B",
        "La opción B es la correcta, A no.",
        "La respuesta es: B. La A es falsa",
        "La respuesta correcta es la letra B, no la A",
        "Respuesta correcta: B. A no.",
        "La correcta es B y no A",
        "Richtig ist B, nicht A.",
        "Antwort B ist richtig, A ist falsch.",
        "Die Lösung ist B und nicht A",
        "Ich würde B wählen, nicht A",
        "B ist richtig, denn A ist falsch.",
        "La réponse correcte est B, car A est fausse.",
        "C'est la réponse B, pas A",
        "La bonne réponse est (B) et non (A).",
        "La risposta è B perché A è sbagliata",
        "La risposta esatta è la B, non la A.",
        "A resposta é B, porque A está errada",
        "A alternativa correta é B, não A",
        "Het antwoord is B, omdat A fout is",
        "Ответ: B, потому что A неверно.",
        "Ответ — вариант B, а не A",
        "Правильным является ответ B, а не A",
        "Правильный ответ B. A неверен",
        "正确答案是选项B，因为A错误",
        "正确的是B，A不正确",
        "答案是：B。A是错的",
        "本题选B。A错",
        "因此选择B，而不是A",
        "应选B，A错",
        "正解はB。Aは誤り",
        "正解: B\nAは誤り",
        "답은 B입니다. A는 아닙니다",
        "정답은 B번입니다. A번은 틀렸습니다",
        "الجواب الصحيح هو B وليس A",
        "الإجابة هي B، لأن A خطأ",
        "Doğru cevap: B. A yanlış",
        "Doğru cevap B şıkkıdır, A yanlış",
        "Câu trả lời đúng là B, không phải A",
        "Đáp án: B. A sai",
        "Jawabannya adalah B, bukan A",
        "Prawidłowa odpowiedź to B, a nie A",
        "Správná odpověď je B, ne A",
        "Răspunsul corect este B, nu A",
        "Rätt svar är B, inte A",
        "Riktig svar er B, ikke A",
        "Det rigtige svar er B, ikke A",
        "A helyes válasz B, nem A",
        "A helyes válasz: B, nem A",
        "Η σωστή απάντηση είναι B, όχι A",
        "सही उत्तर B है, A नहीं",
        "सही उत्तर: B। A गलत है",
        "उत्तर B है, A नहीं",
        "সঠিক উত্তর: B, A নয়",
        "பதில்: B, A அல்ல",
        "คำตอบที่ถูกต้องคือ B ไม่ใช่ A",
        "คำตอบ: B ไม่ใช่ A",
        "התשובה הנכונה היא B ולא A",
        '{"answer": "B"} A',
        "<answer>B</answer> A",
        "<answer>\nB\n</answer> not A",
        "[ANSWER] B [/ANSWER] A",
        "Answer = B; A is wrong",
        "answer is b, a is wrong",
        "Choice: B\nA is wrong.",
        "Selected answer: B. A is wrong",
        "Option: (B). A is wrong.",
        "Letter: B; A wrong",
        "Conclusion: B. A is wrong.",
        "Verdict: B, not A",
        "Result: B, not A",
        "Solution: B. A is wrong",
        "Prediction: B, A is second",
    ],
)
def test_one_choice_is_meant(output):
    assert read(output, **LETTERS).success
    wrong = read(output, **LETTERS | {"answer": "D"})
    assert wrong.reason == "chose 'B', expected 'D'" and wrong.readable


@pytest.mark.parametrize(
    "output",
    [
        "B. Or else C.",
        "Answer: B. Or else C.",
        "Answer: B or C",
        "B or C",
        "A, B",
        "A B C D",
        "A, B, C, D",
        "A) a river\nB) a lake\nC) a sea\nD) a pond",
        "(A) x (B) y (C) z",
        "B and C",
        "Answer: B/C",
        "Answer: B, C",
        "B; or maybe C",
        "Either B or C",
        "The answer is B. The answer is C.",
        "B\nC",
        "Answer: B. Alternatively, C.",
        "Answer: B (or C)",
        "Answer: B, possibly C",
        "Respuesta: B o C",
        "Antwort: B oder C",
        "答案是B或C",
        "Ответ: B или C",
        "The answer is A or B.",
        "B\n\nWait, A is a river.\nC",
        "B - a lake, C - a sea",
    ],
)
def test_an_answer_that_leaves_it_open_is_a_failure_and_says_which_choices(output):
    score = read(output, **LETTERS)
    assert not score.success and "B" in score.reason and "choices: " in score.reason


@pytest.mark.parametrize(
    "output",
    [
        "A is wrong.",
        "It is not B",
        "B) is false. A) is false.",
        "不是B",
        "",
        "Bob",
        "Neither.",
        "The answer is unknown",
        "a lake",
        "I do not know",
    ],
)
def test_an_answer_that_names_none_cannot_be_read(output):
    score = read(output, **LETTERS)
    assert (score.success, score.readable) == (False, False)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("Yes, there is no doubt about it.", "yes"),
        ("Yes. No one says otherwise.", "yes"),
        ("Yes — no question", "yes"),
        ("**Yes**, no evidence against it", "yes"),
        ("yes! no problem", "yes"),
        ("There is no doubt.\nYes", "yes"),
        ("The answer is yes, no doubt.", "yes"),
        ("Well, there is no doubt: the answer is yes.", "yes"),
        ("No, that is not so.", "no"),
        ("No. Yes would be wrong.", "no"),
        ("Answer: No, yes is wrong", "no"),
    ],
)
def test_a_choice_of_words_counts_where_the_answer_begins_or_ends_with_it_or_announces_it(output, answer):
    assert read(output, **YES | {"answer": answer}).success


@pytest.mark.parametrize("output", ["Yes and no", "yes or no", "Yes, no, maybe", "There is a yes and there is a no"])
def test_both_of_two_words_are_neither(output):
    assert read(output, **YES).labels == (choice.SEVERAL,)


@pytest.mark.parametrize("brackets", ["({})", "[{}]", "{})", "{}.", "**{}**"])
@pytest.mark.parametrize(
    "output", ["(B)", "B", "b)", "So the answer is (B).", "The answer is B.", "(A) no. (C) no.\n(B)"]
)
def test_choices_may_be_declared_with_brackets(brackets, output):
    assert read(output, answer=brackets.format("B"), choices=[brackets.format(c) for c in "ABC"]).success
    assert read(output, answer="B", choices=[brackets.format(c) for c in "ABC"]).success


@pytest.mark.parametrize(
    "output", ["B", "(b)", "B. Paris", "Paris", "The answer is Paris.", "**B. Paris**, not A. London"]
)
@pytest.mark.parametrize("answer", ["B", "B. Paris"])
def test_choices_may_be_letter_and_words(output, answer):
    choices = ["A. London", "B. Paris", "C. Rome"]
    assert read(output, answer=answer, choices=choices).success
    assert read("A. London", answer=answer, choices=choices).reason == "chose 'A. London', expected 'B. Paris'"


def test_the_list_in_the_instruction_gives_letters_their_words_and_words_their_letters():
    assert read("It is the blue lake.", LISTED, answer="B", choices=["A", "B", "C"]).success
    assert read("The red river", LISTED, answer="B", choices=["A", "B", "C"]).reason == "chose 'A', expected 'B'"
    assert read("blue lake or red river", LISTED, answer="B", choices=["A", "B", "C"]).reason.startswith("names 2")
    assert not read("It is the blue lake.", answer="B", choices=["A", "B", "C"]).readable
    words = {"answer": "blue lake", "choices": ["red river", "blue lake", "green sea"]}
    assert read("(B)", LISTED, **words).success and read("blue lake", LISTED, **words).success
    assert read("C", LISTED, **words).reason == "chose 'green sea', expected 'blue lake'"


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("Ответ: А", "A"),
        ("The answer is В.", "B"),
        ("С", "C"),
        ("**Е**", "E"),
        ("Απάντηση: Β", "B"),
        ("الإجابة: ج", "C"),
    ],
)
def test_letters_that_look_alike_or_stand_for_one_are_read_as_it(output, letter):
    assert read(output, answer=letter, choices=list("ABCDE")).success


def test_a_russian_preposition_is_no_choice_and_cyrillic_choices_stay_what_they_are():
    assert read("В тексте сказано, что это так. Ответ: C", answer="C", choices=list("ABC")).success
    assert not read("В тексте сказано, что это так.", answer="B", choices=list("ABC")).readable
    cyrillic = {"answer": "В", "choices": ["А", "Б", "В", "Г"]}
    assert read("Ответ: В", **cyrillic).success and read("Правильный ответ — в", **cyrillic).success
    assert read("Ответ: Б", **cyrillic).reason == "chose 'Б', expected 'В'"


@pytest.mark.parametrize(
    ("output", "answer"),
    [("I think B", "B"), ("I", "I"), ("The answer is I.", "I"), ("I believe it is (I).", "I"), ("I know: J", "J")],
)
def test_the_pronoun_is_not_choice_i(output, answer):
    assert read(output, answer=answer, choices=list("ABCDEFGHIJ")).success


@pytest.mark.parametrize(("output", "answer"), [("1", "1"), ("(1)", "1"), ("Answer: 3, not 1", "3"), ("①", "1")])
def test_choices_may_be_numbers(output, answer):
    assert read(output, answer=answer, choices=["1", "2", "3"]).success


@pytest.mark.parametrize("output", ["b", "B", "(b)", "the answer is b", "b) a lake"])
def test_choices_may_be_small_letters(output):
    assert read(output, answer="b", choices=["a", "b", "c"]).success
