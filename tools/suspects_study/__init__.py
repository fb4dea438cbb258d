"""How well one trained network tells which of its training labels are wrong: docs/SUSPECTS.md.

    python -m tools.suspects_study docs/suspects docs/SUSPECTS.md
    python -m tools.suspects_study docs/suspects docs/SUSPECTS.md \\
        --population TRAINED AUDITED --population …

The second form measures first: TRAINED is what ``onnx-gap zoo train`` wrote, AUDITED what
``onnx-gap population`` made of it. It writes two tables, from which the first form makes the page
and the weights of :data:`analyzer.audit.suspect_ranking.DOUBT`, which it prints:

=================  ===============================================================================
``networks.csv``   a row a network with wrong labels: how well each score finds them
``samples.csv``    how many right and wrong labels have which agreement, hold and depths, by data
                   set, kind of noise and share of wrong labels; clean networks too
=================  ===============================================================================

cleanlab's columns are measured where cleanlab and its Datalab are installed
(``pip install 'cleanlab[datalab]'``).
"""
