"""What two reporting guidelines ask for, in this project's words, and what of it a run can tell.

CLAIM 2024 (A. S. Tejani et al., Radiology: Artificial Intelligence 2024) and TRIPOD+AI (G. S.
Collins et al., BMJ 2024). The numbers are theirs; the wording is shortened here, so the guideline
itself is what a paper is held to.
"""

from __future__ import annotations

from typing import NamedTuple

CLAIM, TRIPOD = "CLAIM 2024", "TRIPOD+AI"


class Item(NamedTuple):
    """One item of a guideline.

    Attributes:
        guide, number: which one.
        asks: what it asks for.
        told_by: which facts of runs fill it, by their names; empty where no run can know.
    """

    guide: str
    number: str
    asks: str
    told_by: tuple[str, ...] = ()


ITEMS = (
    Item(CLAIM, "1", "the kind of technology", ("technology",)),
    Item(CLAIM, "2", "structured summary"),
    Item(CLAIM, "3", "clinical background and intended use"),
    Item(CLAIM, "4", "aims and hypotheses"),
    Item(CLAIM, "5", "prospective or retrospective"),
    Item(CLAIM, "6", "goal of the study"),
    Item(CLAIM, "7", "sources of the data"),
    Item(CLAIM, "8", "inclusion and exclusion criteria"),
    Item(CLAIM, "9", "preprocessing", ("preprocessing",)),
    Item(CLAIM, "10", "selection of subsets of the data", ("slices",)),
    Item(CLAIM, "11", "de-identification", ("deidentification",)),
    Item(CLAIM, "12", "missing data", ("unread",)),
    Item(CLAIM, "13", "image acquisition protocol"),
    Item(CLAIM, "14", "how the reference standard was obtained"),
    Item(CLAIM, "15", "why that reference standard"),
    Item(CLAIM, "16", "who annotated, with what expertise"),
    Item(CLAIM, "17", "annotation of the test set"),
    Item(CLAIM, "18", "agreement between and within readers"),
    Item(CLAIM, "19", "how data were assigned to partitions", ("partitions",)),
    Item(CLAIM, "20", "level at which partitions are disjoint", ("level",)),
    Item(CLAIM, "21", "intended sample size"),
    Item(CLAIM, "22", "the model in detail", ("model",)),
    Item(CLAIM, "23", "software and its versions", ("software",)),
    Item(CLAIM, "24", "initial weights", ("initial",)),
    Item(CLAIM, "25", "training in detail", ("training",)),
    Item(CLAIM, "26", "how the final model was chosen", ("selection",)),
    Item(CLAIM, "27", "ensembling", ("ensemble",)),
    Item(CLAIM, "28", "metrics of performance", ("metrics",)),
    Item(CLAIM, "29", "uncertainty and significance", ("uncertainty",)),
    Item(CLAIM, "30", "robustness or sensitivity analysis", ("robustness", "views")),
    Item(CLAIM, "31", "methods of explanation", ("explaining",)),
    Item(CLAIM, "32", "evaluation on internal data", ("internal",)),
    Item(CLAIM, "33", "testing on external data", ("external",)),
    Item(CLAIM, "34", "registration of a clinical trial"),
    Item(CLAIM, "35", "examinations included and excluded", ("flow",)),
    Item(CLAIM, "36", "demographic and clinical characteristics of each partition"),
    Item(CLAIM, "37", "performance with its uncertainty", ("performance",)),
    Item(CLAIM, "38", "diagnostic performance and its precision", ("at_point",)),
    Item(CLAIM, "39", "analysis of failures", ("errors",)),
    Item(CLAIM, "40", "limitations of the study"),
    Item(CLAIM, "41", "implications for practice"),
    Item(CLAIM, "42", "where the full protocol is"),
    Item(CLAIM, "43", "availability of software, model and data"),
    Item(CLAIM, "44", "funding and role of funders"),
    Item(TRIPOD, "1", "title: target population and outcome"),
    Item(TRIPOD, "2", "abstract"),
    Item(TRIPOD, "3a to 3c", "clinical context, users, known inequalities"),
    Item(TRIPOD, "4", "objectives"),
    Item(TRIPOD, "5a, 5b", "sources and dates of the data"),
    Item(TRIPOD, "6a to 6c", "setting, eligibility, treatments"),
    Item(TRIPOD, "7", "preparation of the data and its quality", ("preprocessing",)),
    Item(TRIPOD, "8a to 8c", "the outcome and how it was assessed"),
    Item(TRIPOD, "9a to 9c", "predictors: what the model sees", ("slices",)),
    Item(TRIPOD, "10", "how the sample size was arrived at"),
    Item(TRIPOD, "11", "missing data", ("unread",)),
    Item(TRIPOD, "12a", "how data were used and partitioned", ("partitions",)),
    Item(TRIPOD, "12b", "how predictors were handled: scaling, transformation", ("preprocessing",)),
    Item(TRIPOD, "12c", "kind of model, building, internal validation", ("model", "training")),
    Item(TRIPOD, "12d", "heterogeneity across clusters", ("external",)),
    Item(TRIPOD, "12e", "measures and plots of performance", ("metrics",)),
    Item(TRIPOD, "12f", "updating of the model, such as recalibration", ("calibration",)),
    Item(TRIPOD, "12g", "how predictions are computed", ("output",)),
    Item(TRIPOD, "13", "class imbalance", ("imbalance",)),
    Item(TRIPOD, "14", "fairness: what was done, and why"),
    Item(TRIPOD, "15", "output of the model and thresholds", ("output",)),
    Item(TRIPOD, "16", "differences between training and evaluation data", ("shift",)),
    Item(TRIPOD, "17", "ethical approval"),
    Item(TRIPOD, "18a to 18e", "funding, interests, protocol, registration, data"),
    Item(TRIPOD, "18f", "availability of the code"),
    Item(TRIPOD, "19", "involvement of patients and the public"),
    Item(TRIPOD, "20a", "flow of participants", ("flow",)),
    Item(TRIPOD, "20b, 20c", "characteristics of participants, by data set"),
    Item(TRIPOD, "21", "participants and events in each analysis", ("internal", "external")),
    Item(TRIPOD, "22", "specification of the model"),
    Item(TRIPOD, "23a", "performance with intervals, subgroups included", ("performance",)),
    Item(TRIPOD, "23b", "heterogeneity of performance", ("subgroups",)),
    Item(TRIPOD, "24", "results of updating the model"),
    Item(TRIPOD, "25", "interpretation, fairness included"),
    Item(TRIPOD, "26", "limitations"),
    Item(TRIPOD, "27a", "input of poor quality in use"),
    Item(TRIPOD, "27b, 27c", "expertise of users, next steps"),
)
