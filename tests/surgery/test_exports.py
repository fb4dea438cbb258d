from analyzer import surgery


def test_door_names_what_it_opens_to():
    assert len(set(surgery.__all__)) == len(surgery.__all__)
    public = {n for n in dir(surgery) if not n.startswith("_")}
    modules = {n for n in public if type(getattr(surgery, n)).__name__ == "module"}
    assert set(surgery.__all__) == public - (modules - set(surgery.__all__))
