"""Stand-ins for what Slicer has and slicer-core has not: qt, ctk, MRML widgets, the layout manager, script modules.

They stand on PySide6 and follow PythonQt's customs strictly, as they were seen in a genuine Slicer: a property is an
attribute and no call, an unknown property cannot be set, an unknown signal fails the test, and so does every exception
in a slot. The scene, its nodes and their logics are the real ones.
"""
